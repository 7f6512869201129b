"""Planted solutions: 24 short questions, each with a right and a subtly wrong solution in steps.

Both solutions of a question begin alike and differ from the step ``wrong_from`` on, by one slip
(an operation, a unit, a count, a sum, a condition that is forgotten) that is then carried through
to a wrong answer without a further one. So a verifier that merely likes well-written text, or
knows an easy question from a hard one, scores both alike. Written for ttc; a test computes every
right answer anew and checks every equation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttc_cli.errors import TtcError, UsageError
from ttc_cli.tables import read_jsonl
from ttc_cli.texts import read_utf8


@dataclass(frozen=True, slots=True)
class Planted:
    """A question with both solutions, in steps."""

    question: str
    answer: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]

    @property
    def wrong_from(self) -> int:
        """The place, from 0, of the first step that differs."""
        pairs = zip(self.right, self.wrong, strict=False)
        return next((i for i, (a, b) in enumerate(pairs) if a != b), len(self.right))


def load_planted(path: Path) -> list[Planted]:
    """Read a JSONL file: ``question``, ``answer``, ``right`` and ``wrong``, lists of steps, a line.

    Raises:
        UsageError: it cannot be understood.
    """
    found = []
    for row in read_jsonl(read_utf8(path, str(path), "The solutions in"), str(path)):
        try:
            if row.error is not None:
                raise row.error
            found.append(_read(row.columns))
        except (TtcError, ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{path}, {row.where}: no planted solutions ({error!r}).") from error
    if not found:
        raise UsageError(f"There are no solutions in {path}.")
    return found


def _read(row: dict[str, Any]) -> Planted:
    right, wrong = (tuple(map(str, row[key])) for key in ("right", "wrong"))
    if not right or not wrong or right == wrong:
        raise ValueError("the solutions are empty, or the same")
    return Planted(str(row["question"]), str(row["answer"]), right, wrong)


def _plant(question: str, answer: str, shared: str, right: str, wrong: str) -> Planted:
    """Steps are separated by ``|``; the shared ones come first in both."""
    begun, good, bad = (tuple(filter(None, text.split("|"))) for text in (shared, right, wrong))
    return Planted(question, answer, begun + good, begun + bad)


PLANTED: tuple[Planted, ...] = (
    _plant(
        "A baker makes 12 trays of 8 rolls and sells 70 rolls. How many rolls are left?",
        "26",
        "The baker makes 12 * 8 = 96 rolls.",
        r"After the sale 96 - 70 = 26 rolls are left.|The final answer is \boxed{26}.",
        r"After the sale 96 - 70 = 36 rolls are left.|The final answer is \boxed{36}.",
    ),
    _plant(
        "Mia has 45 stickers. She gives a third of them to Tom and 6 to Ann. How many does she "
        "keep?",
        "24",
        "A third of 45 is 45 / 3 = 15, so Tom gets 15 stickers.",
        r"Tom and Ann together get 15 + 6 = 21 stickers.|Mia keeps 45 - 21 = 24.|"
        r"The final answer is \boxed{24}.",
        r"Tom and Ann together get 15 + 6 = 21 stickers, and that is what Mia keeps.|"
        r"The final answer is \boxed{21}.",
    ),
    _plant(
        "A train leaves at 9:40 and arrives at 13:15. How many minutes does it travel?",
        "215",
        "From 9:40 to 12:40 it travels 3 hours, which is 3 * 60 = 180 minutes.",
        r"From 12:40 to 13:15 it travels 35 more minutes.|In all it travels 180 + 35 = 215 "
        r"minutes.|The final answer is \boxed{215}.",
        r"From 12:40 to 13:15 it travels 25 more minutes.|In all it travels 180 + 25 = 205 "
        r"minutes.|The final answer is \boxed{205}.",
    ),
    _plant(
        "Pens cost 3 dollars each and notebooks 5 dollars each. What do 4 pens and 6 notebooks "
        "cost?",
        "42",
        "The pens cost 4 * 3 = 12 dollars.",
        r"The notebooks cost 6 * 5 = 30 dollars.|Together they cost 12 + 30 = 42 dollars.|"
        r"The final answer is \boxed{42}.",
        r"The notebooks cost 6 * 5 = 35 dollars.|Together they cost 12 + 35 = 47 dollars.|"
        r"The final answer is \boxed{47}.",
    ),
    _plant(
        "A rectangle is 9 cm long and 4 cm wide. What is its perimeter in cm?",
        "26",
        "The length is 9 cm and the width is 4 cm.",
        r"The perimeter is twice the sum of both, 2 * (9 + 4) = 26 cm.|"
        r"The final answer is \boxed{26}.",
        r"The perimeter is the product of both, 9 * 4 = 36 cm.|The final answer is \boxed{36}.",
    ),
    _plant(
        "A jacket costs 80 dollars and is sold at 25% off. What is the price after the discount?",
        "60",
        "The discount is 25% of 80 dollars.",
        r"That is 80 * 25 / 100 = 20 dollars.|The price is 80 - 20 = 60 dollars.|"
        r"The final answer is \boxed{60}.",
        r"That is 25 dollars.|The price is 80 - 25 = 55 dollars.|The final answer is \boxed{55}.",
    ),
    _plant(
        "Five friends share 3 pizzas of 8 slices each, and 4 slices remain. Each ate the same "
        "number. How many slices did each eat?",
        "4",
        "There are 3 * 8 = 24 slices.",
        r"They ate 24 - 4 = 20 slices.|Each ate 20 / 5 = 4 slices.|"
        r"The final answer is \boxed{4}.",
        r"They ate 24 - 4 = 20 slices.|Shared among 4 friends that is 20 / 4 = 5 slices each.|"
        r"The final answer is \boxed{5}.",
    ),
    _plant(
        "Leo is 7 years older than Eva. In 5 years Eva will be 16. How old is Leo now?",
        "18",
        "In 5 years Eva will be 16, so now she is 16 - 5 = 11.",
        r"Leo is 7 years older, 11 + 7 = 18.|The final answer is \boxed{18}.",
        r"Leo is 7 years older than 16, 16 + 7 = 23.|The final answer is \boxed{23}.",
    ),
    _plant(
        "A tank holds 240 litres. It is filled at 15 litres a minute while 3 litres a minute leak "
        "out. How many minutes until it is full?",
        "20",
        "Every minute 15 litres flow in and 3 litres leak out.",
        r"So the tank gains 15 - 3 = 12 litres a minute.|It is full after 240 / 12 = 20 minutes.|"
        r"The final answer is \boxed{20}.",
        r"So the tank gains 15 + 3 = 18 litres a minute.|It is full after 240 / 18 = 13.33 "
        r"minutes, so about 13.|The final answer is \boxed{13}.",
    ),
    _plant(
        "What is 37 * 14?",
        "518",
        "First, 37 * 10 = 370.",
        r"Then 37 * 4 = 148.|The sum is 370 + 148 = 518.|The final answer is \boxed{518}.",
        r"Then 37 * 4 = 138.|The sum is 370 + 138 = 508.|The final answer is \boxed{508}.",
    ),
    _plant(
        "The numbers 12, 15, 18 and 27 have which mean?",
        "18",
        "Their sum is 12 + 15 + 18 + 27 = 72.",
        r"There are 4 numbers, so the mean is 72 / 4 = 18.|The final answer is \boxed{18}.",
        r"There are 3 numbers, so the mean is 72 / 3 = 24.|The final answer is \boxed{24}.",
    ),
    _plant(
        "A farmer has chickens and cows, 10 animals with 28 legs in all. How many are cows?",
        "4",
        "If all 10 were chickens there would be 10 * 2 = 20 legs.",
        r"There are 28 - 20 = 8 legs more.|A cow has 2 legs more than a chicken, so there are "
        r"8 / 2 = 4 cows.|The final answer is \boxed{4}.",
        r"There are 28 - 20 = 8 legs more.|A cow has 4 legs, so there are 8 / 4 = 2 cows.|"
        r"The final answer is \boxed{2}.",
    ),
    _plant(
        "Solve for x: 3x - 7 = 20.",
        "9",
        "Start from 3x - 7 = 20.",
        r"Adding 7 to both sides gives 3x = 27.|Dividing by 3 gives x = 9.|"
        r"The final answer is \boxed{9}.",
        r"Subtracting 7 from both sides gives 3x = 13.|Dividing by 3 gives x = 13/3.|"
        r"The final answer is \boxed{13/3}.",
    ),
    _plant(
        "A fence 30 m long has a post every 5 m, with one at both ends. How many posts are there?",
        "7",
        "The posts divide the fence into 30 / 5 = 6 gaps.",
        r"With a post at both ends there is one post more than gaps, 6 + 1 = 7.|"
        r"The final answer is \boxed{7}.",
        r"Each gap has one post, so there are 6 posts.|The final answer is \boxed{6}.",
    ),
    _plant(
        "Nina reads 18 pages on Monday, twice as many on Tuesday, and 10 fewer than on Tuesday on "
        "Wednesday. How many pages does she read in all?",
        "80",
        "On Tuesday she reads 2 * 18 = 36 pages.",
        r"On Wednesday she reads 36 - 10 = 26 pages.|In all she reads 18 + 36 + 26 = 80 pages.|"
        r"The final answer is \boxed{80}.",
        r"On Wednesday she reads 36 - 10 = 26 pages.|In all she reads 36 + 26 = 62 pages.|"
        r"The final answer is \boxed{62}.",
    ),
    _plant(
        "A car drives 150 km in 2.5 hours. What is its speed in km per hour?",
        "60",
        "Speed is the distance divided by the time.",
        r"That is 150 / 2.5 = 60 km per hour.|The final answer is \boxed{60}.",
        r"That is 150 / 2.5 = 75 km per hour.|The final answer is \boxed{75}.",
    ),
    _plant(
        "What is 5 + 6 * 3 - 4?",
        "19",
        "The expression is 5 + 6 * 3 - 4.",
        r"The product comes first, 6 * 3 = 18.|Then 5 + 18 - 4 = 19.|"
        r"The final answer is \boxed{19}.",
        r"From the left, 5 + 6 = 11 and 11 * 3 = 33.|Then 33 - 4 = 29.|"
        r"The final answer is \boxed{29}.",
    ),
    _plant(
        "A box holds 2.4 kg of apples. How many grams are 3 such boxes?",
        "7200",
        "Three boxes hold 3 * 2.4 = 7.2 kg.",
        r"One kg is 1000 g, so that is 7.2 * 1000 = 7200 g.|The final answer is \boxed{7200}.",
        r"One kg is 100 g, so that is 7.2 * 100 = 720 g.|The final answer is \boxed{720}.",
    ),
    _plant(
        "Two dice are thrown. In how many of the 36 outcomes is the sum 8?",
        "5",
        "The first die shows 1 to 6, and the second must make up the rest of 8.",
        r"The outcomes are (2,6), (3,5), (4,4), (5,3) and (6,2).|These are 5 outcomes.|"
        r"The final answer is \boxed{5}.",
        r"The outcomes are (2,6), (3,5), (4,4), (4,4), (5,3) and (6,2).|These are 6 outcomes.|"
        r"The final answer is \boxed{6}.",
    ),
    _plant(
        "Sam earns 14 dollars an hour for the first 40 hours of a week and 21 dollars for each "
        "hour beyond. He worked 45 hours. What did he earn?",
        "665",
        "The first 40 hours bring 40 * 14 = 560 dollars.",
        r"Beyond them he worked 45 - 40 = 5 hours, which bring 5 * 21 = 105 dollars.|"
        r"In all he earned 560 + 105 = 665 dollars.|The final answer is \boxed{665}.",
        r"Beyond them he worked 45 - 40 = 5 hours, which bring 5 * 14 = 70 dollars.|"
        r"In all he earned 560 + 70 = 630 dollars.|The final answer is \boxed{630}.",
    ),
    _plant(
        "What is the greatest common divisor of 36 and 84?",
        "12",
        "The prime factors are 36 = 2 * 2 * 3 * 3 and 84 = 2 * 2 * 3 * 7.",
        r"Both have 2 * 2 * 3 = 12 in common.|The final answer is \boxed{12}.",
        r"Both have 2 * 3 = 6 in common.|The final answer is \boxed{6}.",
    ),
    _plant(
        "A recipe for 4 people needs 300 g of rice. How many grams are needed for 10 people?",
        "750",
        "For one person 300 / 4 = 75 g are needed.",
        r"For 10 people that is 10 * 75 = 750 g.|The final answer is \boxed{750}.",
        r"For the 6 people more that is 6 * 75 = 450 g.|The final answer is \boxed{450}.",
    ),
    _plant(
        "A square has an area of 49 square metres. How long, in metres, is a fence around it?",
        "28",
        "A side is 7 metres long, because 7 * 7 = 49.",
        r"The fence goes along 4 sides, 4 * 7 = 28 metres.|The final answer is \boxed{28}.",
        r"The fence goes along 2 sides, 2 * 7 = 14 metres.|The final answer is \boxed{14}.",
    ),
    _plant(
        "A shop sold 120 cups of tea on Friday and 15% more on Saturday. How many cups did it sell "
        "on both days?",
        "258",
        "15% of 120 is 120 * 15 / 100 = 18 cups.",
        r"On Saturday it sold 120 + 18 = 138 cups.|On both days it sold 120 + 138 = 258 cups.|"
        r"The final answer is \boxed{258}.",
        r"On Saturday it sold 120 + 18 = 138 cups.|On both days it sold 120 + 138 = 248 cups.|"
        r"The final answer is \boxed{248}.",
    ),
)
