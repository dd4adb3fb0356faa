"""Messages of a whole broker: built from its config, closed with it, and gateways may report to it."""

from pathlib import Path

import pytest

from broker.notify.outbox import MailOutbox, SmsOutbox
from broker.notify.ports import BadNumber, Messages, PhoneNumber
from tests.stage import MAIL_BLOCK, SMS_BLOCK, open_stage

OUTBOX = {
    MAIL_BLOCK: "  mail: {driver: outbox}\n",
    SMS_BLOCK: "  sms: {gateways: [{driver: outbox}], countries: [SE, FI]}\n",
}
REPORTS = {"        from: Stafett\n": "        from: Stafett\n        reports: true\n"}


async def test_it_writes_to_customers_as_its_config_says(stage_folder: Path) -> None:
    """Here: to nobody, kept in memory."""
    async with open_stage(stage_folder, edit=OUTBOX) as stage:
        messages = stage.broker.messages
        assert isinstance(messages.mail, MailOutbox)
        assert isinstance(messages.sms, SmsOutbox)
        assert messages.numbers is not None
        assert isinstance(messages.numbers.read("070-174 06 05"), PhoneNumber)
        assert messages.numbers.read("+48512345678") is BadNumber.COUNTRY


async def test_a_test_may_bring_its_own(stage_folder: Path) -> None:
    """In place of the config's."""
    outbox = MailOutbox()
    async with open_stage(stage_folder, messages=Messages(mail=outbox)) as stage:
        assert stage.broker.messages.mail is outbox


@pytest.mark.parametrize(("path", "status"), [("46elks/report/nonsense", 403), ("twilio/report", 404)])
async def test_gateways_report_to_it(stage_folder: Path, path: str, status: int) -> None:
    """From their servers: without cookie, without origin, and believed only with the key."""
    async with open_stage(stage_folder, edit=REPORTS) as stage:
        answer = await stage.client.post(f"/notify/sms/{path}", data={"status": "delivered"})
        assert answer.status_code == status


async def test_without_reports_there_is_no_address_for_them(stage_folder: Path) -> None:
    """Nothing is open that nobody needs."""
    async with open_stage(stage_folder, edit=OUTBOX) as stage:
        assert (await stage.client.post("/notify/sms/outbox/report")).status_code == 404
