"""Sentences of the starter corpus, written for this project.

English comes from templates, the other languages from lists. Everything is drawn with a seeded
`random.Random`, so the same seed gives the same texts on every machine.
"""

from __future__ import annotations

import random
import re
import string

WORDS: dict[str, tuple[str, ...]] = {
    "name": (
        "Alice", "Bruno", "Clara", "Dmitri", "Esther", "Farid", "Greta", "Hassan", "Ingrid", "Jonas",
        "Keiko", "Liam", "Marta", "Nadia", "Oscar", "Priya", "Quentin", "Rosa", "Stefan", "Tara", "Ulrich",
        "Violet", "Winston", "Yusuf",
    ),
    "surname": (
        "Adams", "Becker", "Chen", "Douglas", "Evans", "Fischer", "Garcia", "Hughes", "Ivanov", "Jackson",
        "Kowalski", "Larsen", "Mitchell", "Novak", "O'Brien", "Parker", "Rossi", "Schmidt", "Thompson",
        "Vaughan", "Wright", "Young",
    ),
    "role": (
        "baker", "judge", "teacher", "sailor", "young chemist", "bus driver", "gardener", "mayor",
        "night watchman", "violin player", "zoo keeper", "village doctor", "plumber", "goalkeeper",
        "librarian", "shepherd", "pilot",
    ),
    "thing": (
        "umbrella", "violin", "blue jacket", "yellow bucket", "wooden chair", "telephone", "garden fence",
        "paper map", "silver key", "birthday cake", "kitchen clock", "bicycle", "leather bag", "photograph",
        "fishing boat", "chess board", "radio", "old typewriter", "pair of shoes", "brass trumpet",
        "jar of honey", "heavy suitcase",
    ),
    "adj": (
        "quiet", "strange", "cheap", "rather heavy", "thoroughly clean", "broken", "enormous", "beautiful",
        "useful", "slippery", "half empty", "fairly new", "dusty", "precious", "too loud", "awkward",
        "perfectly round", "warm",
    ),
    "place": (
        "harbour", "railway station", "museum", "village square", "chocolate factory", "castle",
        "southern beach", "football ground", "hospital", "lighthouse", "north bridge", "vegetable market",
        "theatre", "school yard", "airport", "pine forest", "shipyard", "town hall", "fire station",
        "old cinema", "frozen lake", "valley",
    ),
    "city": (
        "Bristol", "Lisbon", "Chicago", "Vienna", "Osaka", "Nairobi", "Warsaw", "Dublin", "Toronto",
        "Hamburg", "Geneva", "Jakarta", "Madrid", "Oslo", "Sydney", "Athens", "Montreal", "Glasgow",
        "Boston", "Naples",
    ),
    "food": (
        "mushroom soup", "fresh bread", "apple juice", "fried fish", "cherry pie", "black coffee",
        "roast potatoes", "cheese and onions", "pumpkin stew", "orange marmalade", "ginger biscuits",
        "a bowl of rice", "hot chocolate",
    ),
    "weather": (
        "rain", "thick fog", "sunshine", "a thunderstorm", "light snow", "strong wind", "hail",
        "a hard frost", "haze",
    ),
    "past": (
        "sold", "repaired", "forgot", "measured", "painted", "borrowed", "found", "carried away",
        "photographed", "hid", "described", "gave back", "dropped", "chose", "polished", "examined",
        "left behind", "wrapped", "threw away",
    ),
    "base": (
        "sell", "repair", "measure", "paint", "borrow", "find", "carry", "hide", "describe", "choose",
        "move", "polish", "examine", "weigh", "replace", "unpack", "wash", "sketch", "photograph",
        "collect",
    ),
    "adverb": (
        "yesterday", "this morning", "very slowly", "without a word", "after lunch", "just before midnight",
        "by chance", "for the third time", "in a great hurry", "with both hands", "last Thursday",
        "every other week", "again",
    ),
    "day": (
        "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
    ),
    "month": (
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
        "November",
    ),
    "animal": (
        "fox", "donkey", "pair of geese", "brown horse", "parrot", "goat", "whale", "hedgehog", "pigeon",
        "young zebra",
    ),
}  # fmt: skip

TEMPLATES: tuple[str, ...] = (
    "The {role} {past} the {thing} near the {place}.",
    "{name} {past} a {thing} {adverb}, and nobody in {city} noticed.",
    "Why did the {role} choose the {thing} and not the {thing2}?",
    "Have you ever tried {food} in {city}?",
    "We expect {weather} over {city} on {day}, followed by {weather2}.",
    "The train to {city} leaves at {hour} {minute} from platform {small}.",
    "Please call {name} {surname} on {small} {digit} {digit2} {digit3}, {digit4} {digit5} {digit6}.",
    "Their new {thing} costs {hundreds} dollars and {tens} cents.",
    "Who left the {thing} beside the {place}?",
    "On the {ordinal} of {month}, {name} {surname} moved to {city}.",
    "There was {weather} all night, yet the {place} stayed open.",
    "I think the {thing} is {adj}, don't you?",
    "It took {tens} minutes to walk from the {place} to the {place2}.",
    "Could you {base} the {thing} before {day}, please?",
    "Doctor {surname} says that {food} is good for a {animal}.",
    "A {animal} ran across the {place} and frightened the {role}.",
    "{name} asked for {food}; {name2} only wanted {food2}.",
    "Nothing is as {adj} as a {thing} in {month}.",
    "If it is {adj}, {base} it; if not, just leave it by the {place}.",
    "Is this the way to the {place}, or should we go back to {city}?",
    "Stop! That {animal} has stolen my {thing}!",
    "In {year}, about {hundreds} people worked at the {place} in {city}.",
    "My cousin {name} owns {small} boats, a {thing} and one {animal}.",
    "She {past} the {thing}, then she went home to prepare {food}.",
    "What would you do with {tens} thousand pounds and a {thing}?",
    "Well, {name}, how was the journey from {city} to {city2}?",
    "Half of the class {past} the {thing} {adverb}.",
    "The {role} thought for a while, smiled, and gave {name} the {thing}.",
    "Turn left at the {place}, go on for {small} miles, and look for the {place2}.",
    "Neither {surname} nor {surname2} knew which {thing} was {adj}.",
    "Good evening, and welcome to the {place} of {city}.",
    "Chapter {tens}: how a {role} {past} the {thing}.",
    "They judge every {thing} by its weight, its age and its price.",
    "Shall we {base} the {thing} now, or wait until {hour} o'clock?",
    "{surname} lost the game by {small} points, though {surname2} played with a fever.",
    "Which bus goes to the {place} after {hour} o'clock?",
    "You need {small} eggs, {food}, and a lot of patience.",
    "Every {day} the {role} feeds a {animal} behind the {place}.",
    "Sorry, I thought you said {city}, not {city2}!",
    "The letter from {city} arrived {small} weeks too late.",
    "He could hear the {animal} breathing in the dark.",
    "Where on earth did you find a {thing} in {month}?",
    "Rivers rise in {month}, so check the {place} first.",
    "{name} and {name2} have been married for {tens} years.",
    "Honestly, the {thing} looked {adj} to me.",
    "As the ship left {city}, everyone on deck began to sing.",
    "Thirty judges watched the {role} {base} a {thing}.",
    "There are three choices: give up, phone {name}, or visit the {place}.",
    "The weather in {city} was awful, with {weather} until {day}.",
    "Do not {base} the {thing} while the {role} is asleep.",
    "Just think of the view from the {place} at sunrise!",
    "Zoe usually brings {food}, but this time she brought a {thing}.",
)

OTHER_LANGUAGES: dict[str, tuple[str, ...]] = {
    "de": (
        "Der Zug nach Hamburg fährt heute zwanzig Minuten später ab.",
        "Haben Sie den grünen Schlüssel auf dem Küchentisch gesehen?",
        "Am Wochenende backt meine Großmutter gern Apfelkuchen mit Zimt.",
        "Zwischen den Häusern stand früher eine kleine Bäckerei.",
        "Wir treffen uns am Donnerstag um halb sieben vor dem Museum.",
        "Das Wetter wird morgen freundlich, nur im Süden regnet es noch.",
        "Warum hast du mir nichts von deiner neuen Wohnung erzählt?",
        "Fünfundvierzig Kinder singen in diesem Jahr im Schulchor.",
        "Jonas sucht seit gestern seine Brille und findet sie nicht.",
        "Bitte schließen Sie das Fenster, es zieht schrecklich.",
    ),
    "fr": (
        "Le marché ouvre à huit heures, mais le boulanger arrive plus tôt.",
        "Est-ce que vous avez retrouvé la petite clé du jardin ce matin ?",
        "Ma sœur habite au troisième étage d'une vieille maison blanche.",
        "Nous prendrons le train de Lyon jeudi prochain avec nos cousins.",
        "Il a plu toute la nuit, et la rivière est montée jusqu'au pont.",
        "Combien coûtent ces deux paniers de cerises et cette grande bouteille ?",
        "Le médecin a conseillé à Juliette de marcher une heure par jour.",
        "Quatre-vingt-douze personnes attendaient devant le théâtre.",
        "Je voudrais une soupe à l'oignon et un verre d'eau, s'il vous plaît.",
        "Personne ne savait pourquoi le chien aboyait si fort.",
    ),
    "es": (
        "El tren de Madrid llega a las nueve y cuarto de la mañana.",
        "¿Quién dejó ayer la bicicleta roja delante de la puerta?",
        "Mi abuela prepara una sopa de pescado todos los viernes.",
        "Cuando empezó la lluvia, los niños corrieron hacia la casa.",
        "Compramos treinta naranjas y un queso en el mercado viejo.",
    ),
    "it": (
        "Il mercato chiude alle due, quindi dobbiamo fare in fretta.",
        "Hai visto per caso la chiave azzurra che stava sul tavolo?",
        "Mio fratello lavora da sette anni in una piccola falegnameria.",
        "Domani pomeriggio andremo al mare con gli amici di Giulia.",
        "Ventidue barche sono tornate nel porto prima della tempesta.",
    ),
    "nl": (
        "De trein naar Utrecht vertrekt vandaag van een ander spoor.",
        "Waarom heb je de groene fiets niet in de schuur gezet?",
        "Mijn buurvrouw bakt elke zondag een grote appeltaart.",
        "Het regende de hele dag en toch gingen we naar het strand.",
        "Achttien leerlingen hebben hun boeken thuis laten liggen.",
    ),
    "sv": (
        "Tåget till Uppsala går klockan halv nio från spår fyra.",
        "Har du sett min gula regnjacka någonstans i huset i dag?",
        "På söndag ska vi plocka svamp i skogen bakom sjön.",
        "Min granne har köpt en gammal båt och målat den blå.",
        "Tjugosju personer väntade utanför biblioteket i går.",
    ),
}

_ORDINALS = ("first", "second", "third", "fifth", "eighth", "twelfth", "fourteenth", "twentieth", "thirtieth")


def _fill(template: str, rng: random.Random) -> str:
    """One sentence from one template; a field named twice (`thing`, `thing2`) gets two different words."""
    values: dict[str, str] = {}
    for _, field, _, _ in string.Formatter().parse(template):
        if field is None or field in values:
            continue
        kind = field.rstrip("23456")
        if kind in WORDS:
            values[field] = rng.choice([word for word in WORDS[kind] if word not in values.values()])
        else:
            values[field] = _number(kind, rng)
    return re.sub(r"\ba(?= [aeio]| umbrella)", "an", template.format(**values))


def _number(kind: str, rng: random.Random) -> str:
    """A number as text: `digit`, `small`, `tens`, `hundreds`, `hour`, `minute`, `year` or `ordinal`."""
    if kind == "ordinal":
        return rng.choice(_ORDINALS)
    low, high = {
        "digit": (0, 9),
        "small": (2, 12),
        "tens": (13, 99),
        "hundreds": (101, 980),
        "hour": (1, 12),
        "minute": (10, 59),
        "year": (1807, 1998),
    }[kind]
    return str(rng.randint(low, high))


def spoken_length(text: str) -> int:
    """Length of `text` in characters where a digit, being read as a word, counts as six."""
    return len(text) + 5 * sum(character.isdigit() for character in text)


class SentenceSource:
    """Draws sentences, none of them twice; shuffled rounds use all templates about equally."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._used: set[str] = set()
        self._round: list[str] = []
        self._other = {language: list(sentences) for language, sentences in OTHER_LANGUAGES.items()}

    def utterance(self, language: str, shortest: float, longest: float) -> str:
        """Whole English sentences of `shortest` to `longest` characters, or one sentence of another language.

        Args:
            language: an espeak-ng code such as "en-gb" or "de".
            shortest: sentences are added until their `spoken_length` reaches this.
            longest: beyond this `spoken_length` the choice is dropped and others are tried.

        Raises:
            IndexError: the list of a language other than English is used up.
        """
        if not language.startswith("en"):
            return self._other[language].pop(0)
        while True:
            chosen: list[str] = []
            while spoken_length(" ".join(chosen)) < shortest:
                chosen.append(self._draw())
            if spoken_length(" ".join(chosen)) <= longest:
                self._used.update(chosen)
                return " ".join(chosen)

    def _draw(self) -> str:
        """A new English sentence."""
        while True:
            if not self._round:
                self._round = list(TEMPLATES)
                self._rng.shuffle(self._round)
            sentence = _fill(self._round.pop(), self._rng)
            if sentence not in self._used:
                return sentence
