"""How the best texts are found: the lower bound of the Wilson score interval.

E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, Journal of the American Statistical
Association 22 (1927), 209-212. Of all texts, the one that is good beyond doubt comes first: ten good ratings of ten
are worth more than one of one, and fewer than ninety-nine of a hundred.
"""

from math import sqrt
from typing import Final

Z: Final = 1.959963984540054
"""The standard normal distribution's 97.5 % quantile: a 95 % interval has 2.5 % below it."""


def lower_bound(good: int, bad: int) -> float:
    """At least this share of all people would rate a text good, judging by those who did; 0 without ratings."""
    ratings = good + bad
    if good <= 0 or ratings <= 0:
        return 0.0
    share = good / ratings
    spread = Z * sqrt((share * (1 - share) + Z * Z / (4 * ratings)) / ratings)
    return (share + Z * Z / (2 * ratings) - spread) / (1 + Z * Z / ratings)
