# ruff: noqa: RUF001, RUF003
"""Characters that look like a Latin letter and are not one.

A compact, hand-picked part of the look-alikes that people use to pass word lists (see Unicode Technical Standard 39,
"confusables"): Cyrillic, Greek, Armenian, Cherokee, IPA and small capitals, and symbols that compatibility
normalisation (NFKC) leaves alone. What NFKC already folds (full width, mathematical alphanumerics, ligatures,
superscripts) is not repeated here.
"""

from __future__ import annotations

# Looked up before case folding, because capitals and small letters may look like different Latin letters:
# capital Cyrillic Н is an H, while small Greek ν is a v and its capital Ν an N.
_LOOK_ALIKES: dict[str, str] = {
    "a": "аАɑαΑ⍺ᴀɐƌªᎪⱭӑӓ",
    "b": "ЬьВвβΒʙᏴƅɓ",
    "c": "сСϲϹᴄƈᏟⅽ¢",
    "d": "ԁԀᴅɗđĐᎠðÐƉ",
    "e": "еЕεΕҽᴇɛəɘєЄᎬ℮ЭэǝƏ",
    "f": "ƒϝғҒꜰ",
    "g": "ɡɢԍԌᏀɠց",
    "h": "һҺНнΗʜհᎻħĦԋҺћ",
    "i": "іІιΙıɩɪᎥїЇ¡ӀӏΪ",
    "j": "јЈϳᴊʝᎫ",
    "k": "кКκΚᴋқҚƙᏦ",
    "l": "ʟłŁɫɭӏ∣ǀᏞ",
    "m": "мМμΜᴍɱᎷϺ",
    "n": "пПηΝɴոռɲŋŊ",
    "o": "оОοΟσօᴏøØɵӨө๐০Օ",
    "p": "рРρΡᴘϱᏢþÞ",
    "q": "ԛԚգզ",
    "r": "гГʀɾɼᎡяЯʁ",
    "s": "ѕЅʂꜱՏᏚ",
    "t": "тТτΤᴛŧŦƭᎢ",
    "u": "υսᴜʊՍμʋ",
    "v": "νѵѴᴠᏙʌ",
    "w": "шШωԝԜᴡɯѡѠɰᎳ",
    "x": "хХχΧ×",
    "y": "уУүҮγΥʏყᎩўЎ",
    "z": "ᴢʐΖζƶᏃ",
    "ss": "ẞ",
    "ae": "æÆ",
    "oe": "œŒ",
}


def _ranges() -> dict[str, str]:
    table: dict[str, str] = {}
    for first in (0x1F150, 0x1F170, 0x1F1E6):  # negative circled and squared capitals, regional indicators
        table.update({chr(first + i): chr(ord("a") + i) for i in range(26)})
    return table


# The first Latin letter named wins (μ is an m; as a u it is rarer).
TABLE: dict[str, str] = _ranges()
for _latin, _others in _LOOK_ALIKES.items():
    for _other in _others:
        TABLE.setdefault(_other, _latin)
