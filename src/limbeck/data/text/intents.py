"""A generated set of requests to a home assistant, which needs no file."""

from collections.abc import Sequence

import torch
from torch import Tensor

from limbeck.data.text.table import Table
from limbeck.randomness.hashing import random_bits

TRAIN, TEST = 3000, 1500
_STREAM = 304
# Sentences of each intent; what stands in braces is replaced by a phrase of that name.
_OWN = {
    "alarm": ("wake me {when}", "set an alarm for {hour}", "ring at {hour}", "i must get up {when}"),
    "call": ("phone {person}", "ring {person}", "connect me with {person}", "i want to talk to {person}"),
    "lights": ("switch the {lamp} {onoff}", "turn {onoff} the {lamp}", "make the {room} {bright}", "dim the {lamp}"),
    "heating": ("make the {room} {warm}", "set the {room} to {degrees}", "turn {onoff} the {heater}", "i am {cold}"),
    "message": ("write {person} that {news}", "text {person}", "send {person} a note", "tell {person} that {news}"),
    "music": ("play {song}", "put on {song}", "i want to hear {song}", "turn {onoff} the {player}"),
    "news": ("what happened in {place}", "read me the headlines", "what is new in {place}", "tell me what happened"),
    "reminder": ("remind me to {chore}", "do not let me forget to {chore}", "i must {chore} {when}", "note to {chore}"),
    "shopping": ("put {goods} on the list", "we need {goods}", "order {goods}", "buy {goods} {when}"),
    "timer": ("count {minutes}", "set a timer for {minutes}", "ring in {minutes}", "tell me when {minutes} are over"),
    "traffic": (
        "how long to {place}",
        "how is the road to {place}",
        "when must i leave for {place}",
        "route to {place}",
    ),
    "weather": (
        "will it rain in {place}",
        "how {warm} is it in {place}",
        "do i need a {coat} {when}",
        "is it {cold} out",
    ),
}
# Sentences that may mean either of two intents, so that a teacher's probabilities add something to a label.
_SHARED = {
    ("alarm", "timer"): ("ring {when}", "tell me when it is {hour}"),
    ("alarm", "reminder"): ("i must get up to {chore}", "do not let me sleep, i must {chore}"),
    ("call", "message"): ("contact {person}", "reach {person} {when}", "{person} must know that {news}"),
    ("lights", "heating"): ("turn {onoff} everything in the {room}", "the {room} should be nicer {when}"),
    ("music", "news"): ("turn {onoff} the radio", "let me hear something from {place}"),
    ("reminder", "shopping"): ("we must buy {goods} {when}", "do not let me forget {goods}"),
    ("traffic", "weather"): ("how is it on the way to {place}", "can i go to {place} {when}"),
    ("news", "traffic"): ("what is going on in {place}", "anything i should know about {place}"),
    ("weather", "heating"): ("how {warm} is it", "it is {cold}"),
}
_PHRASES = {
    "when": ("tomorrow", "tonight", "at {hour}", "on {day}", "on {day} at {hour}", "in the morning", "later"),
    "hour": ("six", "seven", "half past eight", "nine", "noon", "quarter to five", "ten", "eleven", "midnight"),
    "day": ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    "person": ("anna", "my brother", "doctor meyer", "the office", "paul", "mother", "the school", "maria", "my boss"),
    "lamp": ("lamp", "lights", "light in the {room}", "ceiling light", "floor lamp", "candles"),
    "room": ("kitchen", "bedroom", "hall", "bathroom", "living room", "garage", "cellar", "study"),
    "onoff": ("on", "off"),
    "bright": ("brighter", "darker", "bright", "dark"),
    "warm": ("warm", "warmer", "cold", "cooler", "hot"),
    "cold": ("cold", "freezing", "too warm", "chilly", "sweating"),
    "degrees": ("nineteen degrees", "twenty degrees", "twenty two degrees", "a low temperature"),
    "heater": ("heating", "radiator", "heater in the {room}", "air conditioning"),
    "news": ("i am late", "dinner is ready", "the train is late", "we need {goods}", "i will call {when}", "it rains"),
    "song": ("some jazz", "the new album", "something quiet", "my favorite song", "an old song", "piano music", "rock"),
    "player": ("music", "speaker", "record player", "sound in the {room}"),
    "place": ("berlin", "the city", "london", "the airport", "the harbor", "paris", "the office", "the north", "town"),
    "chore": ("water the plants", "pay the rent", "buy {goods}", "call {person}", "wash the car", "feed the cat"),
    "goods": ("milk", "bread and butter", "coffee", "apples", "a bottle of water", "soap", "six eggs", "rice"),
    "minutes": ("five minutes", "a minute", "twenty minutes", "one hour", "half an hour", "ninety seconds"),
    "coat": ("coat", "umbrella", "jacket", "hat"),
}
_BEFORE = ("", "", "", "", "please ", "hey, ", "could you ", "well, ", "would you please ", "so ", "ok, ")
_BEHIND = ("", "", "", "", " please", ", thanks", ", will you", " if you can", " now", ", it is important")


def intents() -> tuple[Table, Table]:
    """Return 3,000 training and 1,500 test sentences of 12 intents; the same ones always.

    A third of the sentences are drawn from those that may mean two intents, and have one of them as their label by
    chance, the first two times out of three.

    Returns:
        The training and the test rows, with the columns ``text`` and ``label``.

    Example:
        >>> train, test = intents()
        >>> len(train), len(test), train.columns["label"][3], train.columns["text"][3]
        (3000, 1500, 'music', 'so turn on the record player now')
    """
    rows = [_sentence(_Draws(numbers)) for numbers in _numbers(TRAIN + TEST).tolist()]
    return _table("intents train", rows[:TRAIN]), _table("intents test", rows[TRAIN:])


def _numbers(count: int, each: int = 24) -> Tensor:
    samples = torch.arange(count)
    return torch.stack([random_bits(samples, seed=0, epoch=number, stream=_STREAM) for number in range(each)], dim=1)


class _Draws:
    """Choices by the random numbers of one sentence, one after the other."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = iter(numbers)

    def below(self, count: int) -> int:
        return next(self._numbers) % count

    def one(self, options: Sequence[str]) -> str:
        return options[self.below(len(options))]


def _sentence(draws: _Draws) -> tuple[str, str]:
    if draws.below(3):
        label = draws.one([*_OWN])
        template = draws.one(_OWN[label])
    else:
        first, second = [*_SHARED][draws.below(len(_SHARED))]
        template = draws.one(_SHARED[first, second])
        label = second if draws.below(3) == 2 else first
    text = draws.one(_BEFORE) + template + draws.one(_BEHIND)
    while "{" in text:
        name = text[text.index("{") + 1 : text.index("}")]
        text = text.replace(f"{{{name}}}", draws.one(_PHRASES[name]), 1)
    return text, label


def _table(source: str, rows: Sequence[tuple[str, str]]) -> Table:
    columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    return Table(source, columns, range(1, len(rows) + 1))
