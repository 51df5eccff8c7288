"""Has children without end, in the one way that a native program may (vfork), here to six hundred."""

from tests.guests.guest import LIMITS, Guest

# Root has no limit on processes: the user of the second pass, who has its id, has none either.
GUEST = Guest(
    LIMITS,
    strict="EAGAIN",
    user={"strict": "success"},
    settings={"command": ["{{compiled}}/forks_from_c"]},
)
