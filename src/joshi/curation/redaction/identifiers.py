"""Identifiers with a form of their own: addresses, numbers of accounts and orders, phones. One table of patterns."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from functools import lru_cache

import phonenumbers

from joshi.curation.redaction.spans import Span, overlaps
from joshi.curation.redaction.tokens import UPPER, pieces

# An order or account number: 4500817, DAP/2291, HR-20774, 88213-B. At least three digits, or letters and two.
_CODE = (
    r"\d{2,4}(?: \d{2,5}){2,}|\d{1,3} \d{3}(?! ?[\d%])|(?:[A-Z]{1,6}[-/]){1,3}\d{2,}(?:[-/]\w+)*|\d{1,4}-\d{3,}(?:[-/]\w+)*|\d{1,3}(?:\.\d{3})+(?!\d)|(?:[A-Z]{1,6}[-/ ]?)?\d{3,}(?:[-/.]\w+)*|[A-Z]{1,6}(?:[-/][A-Z0-9]{1,8})*[-/]\d{2,}(?:[-/.]\w+)*|"
    r"[A-Z]{2,5}\d{2,}(?:[-/]\w+)*|\d{1,3}[A-Z]{1,4}-?\d{2,}"
)
_NO = r"(?:\s?(?:[Nn]o\.?|[Nn]r\.?|[Nn]°|[Nn]umbers?|NUMBER|[Rr]ef(?:erence)?\.?|[Ii][Dd]|[Cc]ode|#))"
_LINK = r"\s?(?:is|:|=|#|-|–)?\s?#?"


def _compile(pattern: str) -> re.Pattern[str]:
    r"""A pattern in which \p{Lu} stands for a capital letter, as in Unicode's own notation, which `re` lacks."""
    return re.compile(pattern.replace(r"\p{Lu}", UPPER))


def _numbered(words: str, need_no: str = "") -> str:
    """A word such as 'PO' and its number; words in `need_no` are ordinary unless 'no.' or '#' follows."""
    either = rf"(?:{words}){_NO}?" + (rf"|(?:{need_no}){_NO}" if need_no else "")
    return rf"(?<![\w-])(?:{either}){_LINK}(?P<code>{_CODE})(?P<more>(?:\s?(?:,|and|&|\+|or|und|et)\s?(?:{_CODE}))*)"


_WITH_POSTCODE = _compile(r"(?:\b(?:[\p{Lu}][\w’'-]+|\d{1,4}[A-Za-z]?),? ){0,8}\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b")
# Kinds with the patterns that find them; earlier kinds win where spans overlap.
PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("EMAIL", re.compile(r"[\w.+'-]*\w@[\w-]+(?:\.[\w-]+)+")),
    ("URL", re.compile(
        r"\b(?:https?://|www\.)[^\s<>()\"'⟩]*[\w/]|(?<![\w@.-])(?:[\w-]+\.)+(?:example|com|net|org|io|eu|biz|co\.uk|de|fr|nl|pl|it|es|"
        r"se|in|cn|com\.br|co\.in)(?:/[^\s<>()\"']*[\w/])?(?![\w.-]*\w)"
    )),
    ("WORKFLOW", re.compile(r"(?<![\w-])(?:PROC-WF|NEG-R\d+|SUP|WF|TKT|CASE)-[A-Z0-9]+(?:-[A-Z0-9]+)*\b|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")),
    # Codes that name their own kind.
    ("RFQ", re.compile(r"(?<![\w-])(?:[A-Z]{2,5}[-/])?(?:RF[QPIX]|ENQ|ITT|TND|QUO?|BID)[-/](?:[A-Z]{1,5}[-/])*\d+(?:[-/]\w+)*")),
    ("PO", re.compile(r"(?<![\w-])(?:PO|SO|OC|CO|BPO)[-/](?:[A-Z]{1,5}[-/])*\d+(?:[-/]\w+)*|\b[Oo]rder (?:[A-Z]{1,5}[-/])+\d{3,}(?:[-/]\w+)*(?<=\w)")),
    ("INVOICE", re.compile(r"(?<![\w-])(?:INV|CRN?|FA|RE|RG)[-/](?:[A-Z]{1,5}[-/])*\d{3,}(?:[-/]\w+)*")),
    ("WORKFLOW", re.compile(r"(?<![\w-])(?:[A-Z]{2,5}[-/])*(?:WF|TKT|CASE|REG|SEC|OPP|INC|REQ|JOB|HD|CS|SR|TASK|PRJ)[-/](?:[A-Z]{1,5}[-/])*\d{3,}(?:[-/]\w+)*")),
    ("IBAN", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b(?<=\d)|\b\d{2}-\d{2}-\d{2}\b(?:[ ,/]+(?:a/?c|acc(?:oun)?t)?(?:\s?(?:no\.?|number))?[ :]*\d{6,9}\b)?")),
    ("CARD", re.compile(r"\b(?:\d{4}[ -]){3}\d{1,7}\b|\b3\d{3}[ -]\d{6}[ -]\d{5}\b|(?i:\bcard\b[^.\n]{0,20}?(?:ending|ends)(?: in)? )(\d{4})\b")),
    ("TAXID", re.compile(
        r"(?<![\w-])(?i:VAT|GST(?:IN)?|HST|QST|USt-?Id\w*|Umsatzsteuer\w*|Steuernummer|MwSt|TVA|EIN|EORI|TIN|PAN|CIN|NIP|KRS|REGON|CVR|SIRET|SIREN|NIF|CIF|NIT|NTN|MST|RUC|RFC|RUT|CUI|CUIT|P\.? ?IVA|ABN|ACN|"
        r"CNPJ|CPF|Org\.?(?:anisation)?s?\.?-?nr\.?|KvK|BTW|HRB|HRA|UID|UIC|UEN|SSM|ICE|EDRPOU|VKN|TRN|(?:KRA )?PIN|NINEA|OIB|I[CČ]O|DI[CČ]|EIK|JIB|MBR?|PVM(?: kodas)?|įm\. kodas|Y-tunnus|D-?U-?N-?S|RCS|BN|"
        r"C\.?R\.?|Co\.? Reg|Biz\.? reg|business (?:id|number|reg\w*)|company (?:reg(?:istration)?|id|number|no\.?)|reg(?:ister(?:ed)?|istration)?\.? ?(?:in [\w ]+ )?(?:no\.?|nr\.?|number|is)|(?<=SIA )Reg|"
        r"tax(?:payer)? (?:code|id|no\.?|number))"
        r"(?:[ .-]?(?:no\.?|nr\.?|number|reg(?:istration)?\.?|id|intracom\w*|code|kodas))*"
        r"(?:(?: \w+){0,6}? is|(?: (?:for|of|on) [^\d\n:]{2,30}?)?(?: is)?|,? (?:the|you) [^\d\n:]{2,30}?)?[.:]?,?\s?#?"
        r"((?:[A-Z]{1,4}[ -]?)?\d[\dA-Z. /-]{3,}[\dA-Z](?:\s\([\d-]+[A-Z]?\))?(?<![a-z])|[A-Z]{5}\d{4}[A-Z]\b|[A-Z]\d{5}[A-Z]{2}\d{4}[A-Z]{3}\d{6}|[A-Z]{3,4}\d{6}[A-Z0-9]{3}\b|[A-Z]\d{8,9}[A-Z]?\b)"
        r"|\b(\d{2}[A-Z]{5}\d{4}[A-Z]\d[A-Z][A-Z\d])\b|\b((?:GB|DE|ATU|FR[A-Z\d]{2}|IT|ES[A-Z]?|PL|SE|NL|BE|DK|CZ|PT|RO|HU|FI|IE|BG|LT|LV|EE|SK|SI|HR|EL|LU) ?(?:\d{8,12}(?:B\d{2})?|\d{2,4}(?:[ .]\d{3,4}){2,3}))\b|\b(CHE-\d{3}\.\d{3}\.\d{3})\b"
        r"|(?<!\w)(\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2})\b|\b(91[0-9A-Z]{16})\b|\b([A-ZÑ&]{3,4}\d{6}[A-Z0-9]{3})\b|\b(\d{5} ?\d{4} ?R[TP]\d{4})\b|\b([AP]\d{9}[A-Z])\b|\b([ABEFGHJNUVW]\d{8})\b|\b(\d{3}\.\d{3}\.\d{3}-\d)\b|\b(\d{3}-\d{2}-\d{5})\b|\b(SC\d{6})\b"
    )),
    ("RFQ", re.compile(_numbered(r"RF[QPIX]s?|[Tt]ender|ITT|[Ee]nquiry|[Ii]nquiry|[Aa]nfrage", r"[Qq]uot(?:e|ation)|[Oo]ffer|[Bb]id|[Aa]ngebot|[Dd]evis"))),
    ("PO", re.compile(_numbered(
        r"P\.?O\.?'?s?|po|pos|[Pp]urchase [Oo]rders?|[Cc]all-?off|[Bb]estell(?:ung|nummer|nr\.?)|[Cc]ommande|[Pp]edido|[Oo]rder (?:confirmation|ack\w*)",
        r"[Oo]rders?|[Cc]ontract|[Aa]greement|[Ff]ramework|[Ss]ales [Oo]rder|SO",
    ))),
    ("INVOICE", re.compile(_numbered(r"INV|inv|[Ii]nvoices?|INVOICE|[Rr]echnung(?:snummer|s-?[Nn]r\.?)?|[Ff]acture|[Ff]actura|[Cc]redit [Nn]otes?|[Dd]ebit [Nn]otes?|[Pp]ro[- ]?forma"))),
    ("ACCOUNT", re.compile(_numbered(
        r"[Aa]ccounts?(?: ending)?|ACCOUNT|[Aa]/[Cc]|[Aa]cct\.?|[Aa]cc\.?|[Kk]undennummer|[Kk]undennr\.?|[Ll]ieferantennummer|[Nn]uméro client",
        r"[Cc]ustomer|[Vv]endor|[Ss]upplier|[Cc]lient|[Dd]ebtor|[Cc]reditor|[Mm]ember(?:ship)?|[Ll]icen[cs]e",
    ))),
    ("WORKFLOW", re.compile(_numbered(r"[Ww]orkflow|[Tt]icket|[Cc]ase (?=[A-Z]*-?\d{3})|[Jj]ob (?=[A-Z]*-?\d{3})|JOB|[Tt]hread [Ii][Dd]|[Oo]ur ref(?:erence)?|[Yy]our ref(?:erence)?|[Rr]ef(?:erence)?\.?|REF", r"[Cc]ase|[Jj]ob|[Cc]laim|[Ii]ncident|[Rr]equest"))),
    ("ADDRESS", _compile(
        # Street 74, 8501 Town: all over the continent.
        r"\b(?!(?:Type|Grade|Class|Size|Batch|Lot|Item|Model|MOQ|Qty|Page|Week|Line|Net|Part|Drawing|Series|Section|Clause|Annex)\b)[\p{Lu}][\w’'.-]+(?: (?!Type|Grade|Class|Size)[\w’'-]+\.?){0,4} \d{1,4} ?[A-Za-z]?(?:[/-]\d+\w?)?(?:,? (?:bte|bus|box|No:?) ?\w+)?,(?: [\p{Lu}][\w’'-]+,)? (?:[A-Z]{1,2}-)?\d{2,5}(?:[ -]?\d{2,4}| [A-Z]{2})?(?: [\p{Lu}][\w’'-]+(?: [\p{Lu}][\w’'-]+){0,2}\b|(?<=[A-Z]-\d{4})\b)|"
        r"\b(?:(?:Unit|Suite|Studio|Office|Room|Plot|Level|Floor|Flat|Building|Bldg|Dock|Gate|Bay|Shop|Warehouse) \w{1,5}(?:/\w+)?,? )*(?:[A-Z][\w’'-]+ (?:House|Mill|Works|Centre|Center|Park|Estate|Court|Yard|Wharf|Trading Estate|Business Park|Industrial Estate),? )?"
        r"\d{1,5}[A-Za-z]?(?:[-–/]\d{1,4}[A-Za-z]?)? (?:[\p{Lu}][\w’'.-]*\.? ){1,4}(?:Street|St|Road|Rd|Lane|Ln|Avenue|Ave|Drive|Dr|Way|Close|Terrace|Crescent|Row|Mews|Hill|Gardens|"
        r"Court|Ct|Place|Pl|Square|Sq|Boulevard|Blvd|Park|Wharf|Quay|Yard|Works|Estate|Parkway|Pkwy|Highway|Hwy|Circle|Cir|Marg|Nagar|Parade|Embankment|Green|Gate|Gait|Walk|Loop|Spur|Cross|Trail|Trl|Link|Line|Pike|Path|Point|Terr|Run|Bend|County Rd|Route|Pass|Alley)\b\.?"
        r"|\b(?:Unit|Suite|Plot(?: No\.?)?|Shed|Godown|Gala|SF No\.|Survey No\.|No\.|Bond|Lote|Stand|Erf|Level|Building|B[âa]timent) [A-Z]?-?\d+\w?(?:/\w+)?,? (?:(?:[A-Z][\w’'-]+|of|Phase|Sector|\d+) ?){1,5}(?:Estate|Park|Centre|Center|Nagar|Road|Area|Zone|MIDC|GIDC|Works|Way|Lane|Yard|Row|Street|Cross|Link|Jalan|Ambad)\b(?: (?:Phase|Sector) \w+)?"
        r"|\b(?:[A-ZÄÖÜ][\wäöüß-]+(?:straße|strasse|str\.|gasse|weg|platz|allee|damm|ufer|ring|straat|laan|kade|plein|vägen|gatan|gata|vej|veien|katu|tie)|(?:Am|An der|Zum|Zur|Im|Auf der) [A-ZÄÖÜ][\wäöüß-]+) \d+[a-z]?(?:-\d+)?\b"
        r"|\b(?:\d{1,4}(?:,? (?:bis|ter))?,? (?=[a-zA-Z])|(?=[A-Z]\w+ (?:[\w’'-]+ ?){1,5},? \d))(?:[Rr]ue|[Aa]venue|[Bb]oulevard|[Qq]uai|[Rr]oute|[Cc]hemin|[Pp]lace|[Ii]mpasse|[Aa]llée) (?:(?:de|du|des|la|le|les|d[’']|l[’'])\s?)*[A-ZÉÈ][\w’'-]+(?: [A-ZÉÈ][\w’'-]+){0,3}(?:,? \d{1,4}\b)?"
        r"|\b(?:[Vv]ia|[Vv]iale|[Cc]orso|[Pp]iazza|[Cc]alle|[Cc]/|[Aa]venida|[Aa]v\.|[Aa]vda\.|[Pp]aseo|[Pp]laza|[Pp]ol[ií]gono|[Rr]ua|[Tt]ravessa|[Ee]strada|[Ll]argo|ul\.|bul\.|al\.|Carrera|Cra\.?|Calle|Bulevar|Ulica|[Uu]lica|[Ss]tr\.|[Cc]ad\.|[Jj]alan|[Jj]l\.) "
        r"(?:(?:de|del|della|di|dei|da|do|dos|das|la|las|los|el)\s)*[\p{Lu}][\w’'.-]+(?: [\w’'.-]+){0,3}?,? (?:[Nn][ºo°]\.? ?)?\d+\w?(?:/\w+)?"
        r"|\b\d{1,5} (?:Sokak|Sok\.|Cadde|Cad\.)(?: [Nn]o:? ?\d+\w?)?|\b[A-ZÇĞİÖŞÜ][\wçğıöşü]+ (?:Sokak|Sok\.|Cadde(?:si)?|Cad\.|Mah\.),? [Nn]o:? ?\d+\w?|\b(?:P\.?\s?O\.? ?Box|Postfach|BP|Casella postale|Apartado|Private Bag) \d[\d -]*\d?\b"
    )),
    ("ADDRESS", _WITH_POSTCODE),
    # Codes of no part, grade or standard: with a year or a department in the middle, with five digits or more.
    ("CODE", re.compile(
        r"(?<![\w/-])(?:[A-Z][A-Z&]{1,4}[-/ ](?:20)?\d{2}[-/]\d{3,}|[A-Z]{2,5}[-/][A-Z0-9]{2,5}[-/]\d{3,}|[A-Z]{2,4}0\d{3,}|[A-Z]{2,4}\d{6,}|[A-Z]{1,4}\d{2}-\d{3,5}|[A-Z]{1,2}-\d{2}/\d{3,}|"
        r"\d{2}-\d{6,7}|\d{4}-\d{3}-\d{2})(?:[-/]\w{1,6})*[A-Z]?(?!\w)|(?<![\w.,£$€₹/-])\d{8,18}(?![\w,.]\d|\w|\s?(?:[£$€₹]|EUR|USD|pcs|units|kg))"
    )),
    ("CODE", re.compile(r"(?<![\w/-])(?<!part )(?<!item )(?<!grade )(?<!type )(?<!model )(?<!batch )(?<!drawing )[A-Z](?:[A-Z&]{0,3})(?:[-/][A-Z]{1,4})?[-/]\d{4,}(?:[-/]\w{1,6})*")),
    ("IP", re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?:/\d{1,2})?(?![\w.]\d)|(?<![\w:])(?:[0-9a-fA-F]{1,4}:){2,7}(?::?[0-9a-fA-F]{1,4}){1,6}(?![\w:])")),
    ("PHONE", re.compile(
        r"(?<![\w.])(?:\+|00)\d{1,3}[ .-]?(?:\(0?\d{0,4}\)[ .-]?)?\d[\d ./-]{5,14}\d(?!\w)|(?<![\w.])\(0?\d{2,5}\)[ -]?\d{3,4}[ -]?\d{3,4}\b|(?<![\w.£$€-])(?:1[-.])?\d{3}[-.]\d{3}[-.]\d{4}\b(?:\s?(?:x|ext\.?)\s?\d{1,5})?"
        r"|(?<![\w.,£$€-])0\d{2,5}[ -]\d{3,4}(?:[ -]?\d{3,4}){0,2}\b"
        r"|(?i:\b(?:call|tel|telephone|phone|ph|mob|mobile|cell|whats?app|fax|ring|text|reach|dial|direct|number is|(?:desk|line)(?=[^\d\n£$€]{0,25}[+0]))\b)[^\d\n£$€]{0,25}((?:\+|0)?\d[\d ()./-]{5,16}\d(?:\s?(?:x|ext\.?)\s?\d+)?)(?!\w)"
        r"|(?<![\w.])0\d(?:[ .-]\d\d){4}\b|\b555-\d{4}\b|\b(?i:ext(?:ension)?\.?)\s?(\d{3,5})\b"
    )),
)  # fmt: skip
# What may go on after a street: towns, codes, districts, up to the end of the line or of the sentence.
_REST_OF_ADDRESS = _compile(
    r"(?:,?[ ]|,\n?|\n(?=(?:[A-Z]{1,2}-)?\d{4,6} [\p{Lu}]|[\p{Lu}][\w’'-]+,? [A-Z]{1,2}\d))(?:(?:Unit|Suite|Bldg|Building|Floor|Level|Phase|Sector|Block|Plot|Lote|bte|No\.?|Nr\.?|Apt) ?[A-Z]?-?\d*\w?|"
    r"#\d+-\d+|[A-Z]\d[A-Z] ?\d[A-Z]\d|(?:[A-Z]{1,2}-)?\d{3,6}(?:[ -]\d{2,4})?(?: [A-Z]{2})?(?!\w|[.,]\d| ?(?:pcs|kg|units|pieces|m\b|mm|t\b|%))|[A-Z]{1,2}\d[A-Z\d]?(?: \d[A-Z]{2})?|\d[A-Z]\d|[A-Z]{2,3}\b(?! ?[:.]? ?\d{6})|"
    r"(?!(?:Tel|Phone|Mob|Mobile|T|M|E|VAT|Fax|Attn|Please|We|The|Our|I|If|Can|Let|Best|Kind|Regards|Thanks|And|But|For|It|This|That|You|Your|My|Org|UID|CIF|EIN|GST\w*|NIF|TVA|MST|Email|Site|Ask|Sign|Deliver\w*)\b)"
    r"(?:(?:de|la|le|del|do|da|dos|am|sur|upon|on)[ -])*[\p{Lu}][\w’'-]+\.?(?:(?: (?:de|la|le|del|do|da|dos|am|an der|upon|on|of|the|en))+ [\p{Lu}][\w’'-]+)?)(?![\w@])"
)
# What a text must hold for a kind's pattern to match anywhere in it: cheaper to look for than the pattern itself.
_TOP_LEVEL = tuple(f".{name}" for name in "example com net org io eu biz co.uk de fr nl pl it es se in cn".split())
_POSTCODE = re.compile(r"\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b")
_CARD = re.compile(r"\d{4}[ -]\d|(?i:card)")
_TAX_NUMBER = re.compile(r"\d[\dA-Z. /-]{3,}[\dA-Z]")
_LONG_CODE = re.compile(r"\d(?:[ ./-]?\d){5}|[0-9A-Z]{9}")  # the forms that need no word before them
_TAX_WORDS = frozenset(
    "vat gst gstin hst qst steuernummer mwst tva ein eori tin pan cin nip krs regon cvr siret siren nif cif nit ntn mst ruc rfc "
    "rut cui cuit p iva abn acn cnpj cpf kvk btw hrb hra uid uic uen ssm ice edrpou vkn trn kra pin ninea oib ičo ico dič dic eik "
    "jib mb mbr pvm įm y d duns dun rcs bn c cr co biz business company tax taxpayer sia".split()
)
_TAX_STARTS = ("ust", "umsatzsteuer", "reg", "org")
_WORD = re.compile(r"[^\W\d_]+")
# Words of the street patterns, one of which each of their forms needs that names no town after a number.
_STREET_WORDS = frozenset(
    "Street St Road Rd Lane Ln Avenue Ave Drive Dr Way Close Terrace Crescent Row Mews Hill Gardens Court Ct Place Pl Square Sq "
    "Boulevard Blvd Park Wharf Quay Yard Works Estate Parkway Pkwy Highway Hwy Circle Cir Marg Nagar Parade Embankment Green Gate "
    "Gait Walk Loop Spur Cross Trail Trl Link Line Pike Path Point Terr Run Bend County Route Pass Alley Centre Center Area Zone "
    "MIDC GIDC Jalan Ambad Am An Zum Zur Im Auf Rue rue avenue boulevard quai Quai route Chemin chemin place Impasse impasse Allée "
    "allée Via via Viale viale Corso corso Piazza piazza Calle calle C c Avenida avenida Av av Avda avda Paseo paseo Plaza plaza "
    "Poligono Polígono poligono polígono Rua rua Travessa travessa Estrada estrada Largo largo ul bul al Carrera Cra Bulevar Ulica "
    "ulica Str str Cad cad jalan Jl jl Sokak Sok Cadde Caddesi Mah Box POBox PO Postfach BP Casella Apartado Private".split()
)
_STREET_ENDS = tuple(
    "straße strasse gasse weg platz allee damm ufer ring straat laan kade plein vägen gatan gata vej veien katu tie".split()
)
_NUMBER_THEN_TOWN = re.compile(r",(?: [^\W\d_][\w’'-]+,)? (?:[A-Z]{1,2}-)?\d\d")
_IP = re.compile(r"\d\.\d{1,3}\.\d|:[0-9a-fA-F]{0,4}:")
_SEVEN_DIGITS = re.compile(r"\d(?:[ ()./-]*\d){6}")
_EXTENSION = frozenset(f"{a}{b}" for a in ("ext", "Ext", "EXT") for b in ("", "ension", "ENSION"))
_NEEDS: dict[str, Callable[[str, frozenset[str]], object]] = {
    "EMAIL": lambda text, words: "@" in text,
    "URL": lambda text, words: "://" in text or "www." in text or any(name in text for name in _TOP_LEVEL),
    "CARD": lambda text, words: _CARD.search(text),
    "TAXID": lambda text, words: _TAX_NUMBER.search(text) and (_LONG_CODE.search(text) or _says_tax(words)),
    "ADDRESS": lambda text, words: _says_street(words) or _NUMBER_THEN_TOWN.search(text) or _POSTCODE.search(text),
    "IP": lambda text, words: _IP.search(text),
    "PHONE": lambda text, words: _SEVEN_DIGITS.search(text) or not _EXTENSION.isdisjoint(words),
}
_SOURCE_OF_CODES = ("RFQ", "PO", "INVOICE", "ACCOUNT", "WORKFLOW")
# Said before a code, or after it, these tell that it is a product's.
_PRODUCT = re.compile(
    r"(?<!\w)(?:art(?:icle)?|items?|parts?|pos|type|grade|model|batch|lot|drawing|dwg|die|tool|mould|s/n|serial|material|"
    r"texture|spec(?:ification)?|flange|colou?rs?|art\.-nr|ref\.? art)\.?(?: (?:no\.?|nr\.?|number))?[: ]{0,2}\Z",
    re.IGNORECASE,
)
_PRICED = re.compile(r"(?:[ \t]+| @ ?)(?:US|A|C|S)?[$€£]\d")
_DIGITS = re.compile(r"\d(?:[ ()./-]*\d){8,}")
AROUND = 20  # characters of a text on either side of a run of digits, in which a telephone number may begin or end
_COUNTED = re.compile(
    r"\s?(?:%|pcs|pieces|units?|kg|tonnes?|t\b|m\b|mm\b|days?|weeks?|months?|hours?|pallets?|boxes|cartons?|litres?|people|rpm)",
    re.I,
)


def _says_tax(words: frozenset[str]) -> bool:
    small = [word.lower() for word in words]
    return not _TAX_WORDS.isdisjoint(small) or any(word.startswith(_TAX_STARTS) for word in small)


def _says_street(words: frozenset[str]) -> bool:
    return not _STREET_WORDS.isdisjoint(words) or any(word.endswith(_STREET_ENDS) for word in words)


@lru_cache(maxsize=512)  # a conversation's messages are each looked at several times
def find_identifiers(text: str) -> tuple[Span, ...]:
    """Half-open spans with their kind; none overlap."""
    return tuple((start + a, start + b, kind) for start, piece in pieces(text) for a, b, kind in _in_piece(piece))


def _in_piece(text: str) -> list[Span]:
    taken: list[Span] = []
    for start, end, kind in _all(text):
        if kind == "ADDRESS":  # its end is a guess, and stops where something surer begins
            end = min((a for a, _, _ in taken if start < a < end), default=end)
            end = start + len(text[start:end].rstrip(" ,\n"))
        if start < end and not overlaps((start, end), taken):
            taken.append((start, end, kind))
    return sorted(taken)


def _all(text: str) -> Iterator[Span]:
    digits = any(character.isdigit() for character in text)
    words = frozenset(_WORD.findall(text)) if digits else frozenset()
    hopeless = {kind for kind, needed in _NEEDS.items() if not needed(text, words)}
    for kind, pattern in PATTERNS:
        if kind in hopeless or (not digits and kind not in ("EMAIL", "URL")):
            continue
        if pattern is _WITH_POSTCODE and not _POSTCODE.search(text):
            continue
        for found in pattern.finditer(text):
            if kind in _SOURCE_OF_CODES:
                yield from _codes(text, found, kind)
                continue
            start, end = next((found.span(n) for n in range(1, pattern.groups + 1) if found[n]), found.span())
            if kind == "IP" and not _is_ip(text[start:end]):
                continue
            if kind == "PHONE" and not _is_phone(text, start, end):
                continue
            if kind == "CODE" and (_PRODUCT.search(text, max(0, start - 24), start) or _PRICED.match(text, end)):
                continue
            if kind == "ADDRESS":
                end = _whole_address(text, end)
            yield start, end, kind
    for run in _DIGITS.finditer(text) if digits else ():
        start = max(0, run.start() - AROUND)
        some = text[start : run.end() + AROUND]
        for number in phonenumbers.PhoneNumberMatcher(some, "GB", leniency=phonenumbers.Leniency.VALID):
            if _is_phone(text, start + number.start, start + number.end):
                yield start + number.start, start + number.end, "PHONE"


def _whole_address(text: str, end: int) -> int:
    for _ in range(8):
        more = _REST_OF_ADDRESS.match(text, end)
        if more is None:
            break
        end = more.end()
    return end


def _codes(text: str, found: re.Match[str], kind: str) -> Iterator[Span]:
    """The number itself, and those that follow it in a list: 'invoices 8812, 8813 and 8815'."""
    if "code" not in found.re.groupindex:
        yield *found.span(), kind
        return
    start, end = found.span("code")
    if _COUNTED.match(text, end) or re.fullmatch(r"(?:19|20)\d\d", found["code"]):
        return
    yield start, end, kind
    for more in re.finditer(_CODE, found["more"] or ""):
        yield found.start("more") + more.start(), found.start("more") + more.end(), kind


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_phone(text: str, start: int, end: int) -> bool:
    digits = sum(character.isdigit() for character in text[start:end])
    before = text[max(0, start - 2) : start]
    if (
        any(sign in before for sign in "£$€₹#")
        or before.endswith("/")
        or re.match(r"\s?(?:[£$€₹%]|EUR|GBP|USD|INR|kr\b|units|pcs|pieces|kg)", text[end : end + 8])
    ):
        return False
    return digits >= 7 or bool(re.match(r"555-|\d{3,5}$", text[start:end]))
