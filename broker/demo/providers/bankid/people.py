"""
The test persons of the simulated app. Numbers are published test vectors (personnummer/meta), not real
people.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """One holder of a simulated BankID; ``key`` names them in the page's element ids."""

    key: str
    personal_number: str
    given_name: str
    surname: str
    about: str

    @property
    def name(self) -> str:
        """Full name as BankID gives it."""
        return f"{self.given_name} {self.surname}"

    @property
    def initials(self) -> str:
        """Two letters for the picture."""
        return self.given_name[0] + self.surname[0]

    @property
    def shown_number(self) -> str:
        """``YYYYMMDD-NNNC``, as people write it."""
        return f"{self.personal_number[:8]}-{self.personal_number[8:]}"


PEOPLE = {
    person.key: person
    for person in (
        Person("anders", "195704289999", "Anders", "Lindqvist", "buys winter tyres"),
        Person("elsa", "194608239986", "Elsa", "Bergström", "drives an old Volvo"),
        Person("nils", "200002292399", "Nils", "Åkesson", "born on a leap day"),
        Person("harald", "190905271474", "Harald", "Öst", "more than a hundred years old"),
        Person("amina", "197306749982", "Amina", "Haddad", "has a coordination number"),
    )
}
