"""
The pages of customers who stay with us to log in: from what a connector shows (`broker.core.waiting`) to a view.
"""

import math
from datetime import datetime
from typing import Final

from broker.core.waiting import EnterCode
from broker.pages.views import CodePage, Form, Party

#: What is said when all is as it should be; everything else is a complaint and is announced as such.
_WELL: Final = frozenset({"code.sent", "code.sent_again", "code.member.sent", "code.member.sent_again"})


def code_page(seen: EnterCode, *, form: Form, partner: Party | None, poll_url: str, now: datetime) -> CodePage:
    """The page for typing in a code."""
    left_s = None if seen.again_at is None else max(0.0, (seen.again_at - now).total_seconds())
    return CodePage(
        form=form,
        partner=partner,
        kind=seen.kind.value,
        to=seen.to,
        message_key=seen.message_key,
        is_well=seen.message_key in _WELL,
        has_link=seen.has_link,
        poll_url=poll_url,
        actions=seen.actions,
        again_in_s=None if left_s is None else math.ceil(left_s),
        addressee=seen.addressee.value,
    )
