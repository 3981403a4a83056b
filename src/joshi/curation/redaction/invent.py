"""Invented people, firms and messages to learn names from. Needs Faker; only `learn.py` uses it."""

from __future__ import annotations

import importlib
import pkgutil
import random
import re
from collections.abc import Callable
from functools import cache, partial

from joshi.curation.redaction.known import LEGAL
from joshi.curation.redaction.spans import Span

_LEGAL = (
    "Ltd", "Ltd.", "Limited", "LLC", "Inc.", "Inc", "GmbH", "AG", "SAS", "SARL", "S.p.A.", "Srl", "BV", "B.V.", "AB", "A/S", "ApS", "Oy",
    "plc", "PLC", "Pvt Ltd", "Pvt. Ltd.", "Pte Ltd", "Pty Ltd", "Sp. z o.o.", "s.r.o.", "Lda", "Ltda", "S.L.", "Kft.", "Co.", "Co., Ltd.",
    "GmbH & Co. KG", "A.Ş.", "FZE", "Sdn Bhd", "Corp.", "NV", "SA", "d.o.o.",
)  # fmt: skip
_TRADE = (
    "Packaging Steel Logistics Foods Chemicals Plastics Engineering Industries Textiles Timber Foundry Castings Electronics Components Freight "
    "Haulage Catering Cleaning Facilities Print Printing Papers Labels Metals Tooling Bearings Valves Pumps Cables Lighting Coatings Polymers "
    "Glass Ceramics Furniture Fasteners Hydraulics Robotics Systems Software Solutions Services Consulting Media Marketing Recruitment Staffing "
    "Couriers Shipping Lines Marine Air Aviation Energy Power Solar Water Farms Mills Bakeries Dairy Seafoods Spices Coffee Tea Ingredients "
    "Labs Laboratories Diagnostics Medical Pharma Instruments Optics Technologies Tech Digital Data Networks Telecom Security Uniforms Workwear "
    "Garments Threads Yarns Fabrics Leather Rubber Gaskets Seals Springs Forge Works Group Partners Holdings Trading Supplies Supply Distribution "
    "Wholesale Imports Exports Agro Seeds Nurseries Interiors Joinery Construction Concrete Aggregates Scaffolding Rentals Hire Logistik Transporte "
    "Metallbau Verpackungen Textil Druck Industrie Systemtechnik Emballages Transports Imballaggi Trasporti Alimentari Embalajes Logística Têxteis"
).split()
_WORDS = (
    "Summit Harbour Delta Apex Pinnacle Horizon Beacon Anchor Falcon Eagle Kestrel Heron Oak Cedar Willow Maple Birch River Lake Bridge Castle Tower "
    "Crown Royal Noble Swift Rapid Prime Alpha Omega Sigma Nova Star Sun Moon Orion Atlas Titan Phoenix Vanguard Pioneer Frontier Heritage Legacy "
    "Evergreen Silver Golden Iron Copper Stone Flint Granite Coral Pearl Amber Crystal Blue Green Red White Black Bright Clear True Fair Union "
    "Central Coastal Alpine Baltic Nordic Atlantic Pacific Northern Southern Eastern Western Highland Lowland Valley Meadow Orchard Garden Field "
    "Forest Mill Quarry Foundry Forge Anvil Hammer Compass Keystone Cornerstone Milestone Gateway Portal Signal Echo Pulse Spark Fusion Vertex "
    "Zenith Meridian Solstice Aurora Cascade Torrent Breeze Tempest Monsoon"
).split()
_START = "kor ves tel bran mor lan hex tri cal del fen gar hal jor kel lum mar nor ost pel quar ras sol tor ul vel wes xan yor zan bel dor thal ek iv ost ax nil".split()
_MIDDLE = ["", "", "a", "i", "o", "en", "ar", "il", "am", "er", "ov", "is"]
_END = "vex tek dyne mar lux nor tra vik sta line fab mat pol chem flex form core gate ware wood field holm by dal ton worth ham ford stead berg stein ker ex on a is um".split()
_SPELLED = (
    "two three four five six seven eight nine ten twelve fifteen eighteen twenty thirty forty fifty sixty eighty ninety twenty-five "
    "thirty-two forty-one fifty-five seven eight nine ten eleven twelve thirteen fourteen".split()
)
_CITIES = (
    "Leeds Hull Cork Ghent Lyon Porto Turin Basel Graz Brno Lodz Gdańsk Malmö Aarhus Bergen Turku Riga Izmir Bursa Pune Chennai Surat Dhaka Lahore "
    "Colombo Penang Hanoi Busan Osaka Ningbo Shenzhen Durban Lagos Accra Nairobi Mombasa Cairo Dubai Muscat Lima Bogotá Santos Monterrey Houston "
    "Denver Atlanta Toronto Perth Auckland Rotterdam Antwerp Hamburg Bremen Genoa Valencia Seville Felixstowe Dover Bristol Glasgow"
).split()
_PRODUCTS = (
    "Hydralok Tesaflex Duraseal Polygrip Vantage Proline Ecoflow Thermaguard Aqualux Clearbond Maxifil Ultraform Steelgard Flexibond Purasorb "
    "Excel Windows Salesforce Teams Outlook WhatsApp Incoterms Euro Christmas Easter Diwali Ramadan Monday Tuesday Friday March June October "
    "Grade Class Type Model Series Batch Lot Item Section Annex Appendix Schedule Revision Bosch Siemens Nylon Teflon Kevlar Pantone Kraft"
).split()
# {P} a person in full, {G} a given name, {S} a surname, {F} a firm, {C} a city, {X} a product or other capitalised word.
_MESSAGES = r"""
Hi {G}, we can hold the price until Friday.|Hello {G} and {G}, see the sheet below.|Dear Mr {S}, we must inform you about a surcharge.|Dear {G},
Dear Ms {S},\nThe {X} line is down until Tuesday.|hi its {G} from {F}, can do the pallets tomorrow|Morning {G}, {G} here from {F}.|hey {G} any news on the {X}?
This is {G} at {F}; our driver was turned away.|{G} speaking, {F} in {C}.|Thanks {G}. Will the {X} be ready?|Thanks, {G}|Cheers {G}, that works.|Ok {G}, noted.
Best regards,\n{P}\n{F}|Regards\n{P}\nSales Manager, {F}|Kind regards,\n{G} {S}\nKey Account Manager\n{F}\n{C}|Many thanks,\n{G}|Rgds, {G}|- {G}|Br\n{G}
Please copy {G} {S} in accounts.|Could you ask {G} to call our planner {G}?|Our engineer {P} will visit {C} on Monday.|Mr {S} agreed this with Mrs {S} in March.
{F} quoted us less for the same {X}.|We have taken over {F} last year.|We buy the resin from {F}, so we follow their list.|Your predecessor {P} accepted it.|As {G} said, the {X} is obsolete.
{G}'s team packed it, {F}'s truck was late.|Between {F} and us there is no contract.|{F} will invoice from {C}.|The carrier is {F}, not us.|I spoke with {G} yesterday about {X}.
Talk to {G} if {S} is out.|I will ask {S} in planning.|It was {P} who signed.|Signed: {P}, Director|On behalf of {F}, {P}|From: {P}\nTo: {P}\nSubject: {X} prices|Attn: {P}
{P} wrote:|{G} wrote on Monday:|cc {G}, {G}|@{G} can you check?|{G}, can you check this?|{G} - see below.|No worries {G}|Sorry {G}, I missed that.|Good morning {G},|Guten Tag Herr {S},
Sehr geehrte Frau {S},\nder Preis für {X} steigt ab Juli.|Mit freundlichen Grüßen\n{P}\n{F}|Bonjour {G},\nle prix du {X} change.|Cordialement,\n{P}\n{F}|Hola {G}, el precio de {X} sube.|Saludos,\n{P}
Namaste {G} ji, rates are revised.|Respected {S} sir, kindly confirm.|Madam {S}, we have no stock.|Dr {S} from the lab has approved it.|Both {F} and {F} raised theirs.|{F}, {C}|{P}, {F}, {C}|{P} | {F} | {C}
The {X} grade is out of stock in {C}.|{X} prices rose in {C} and {C}.|Our {X} machine stands in {C}.|Please see {X} 4 of the {X} sheet.|We ship from {C} via {C} every Monday.|Steel is up. Resin too. Freight from {C} doubled.
Price List attached. Lead Time is six weeks.|Will you take the lot? May we ship in March?|Hope is not a plan. Rose petals are extra.|Mark the boxes with the lot number.|Frank question: is it the price?|Bill the freight to us.
Delivery Terms: DAP {C}. Payment: net 45.|VAT is extra. PO follows.|The Summit is in {C} this year.|Grace period ends Friday.|MOQ stays. ETA Monday. ISO certificates follow.|Thank You for the order.|Our Sales Team is on leave.
I'm {G}, I look after the {F} account.|my name is {G} {S}|{G} {S} here.|{G} (now at {F}) knows the history.|ask for {G} on the dock|{G}/{G}, who owns this?|Call me, {G}.|PS {G} says hello.|Regards to {G}.|Our MD, {P}, is asking.
{F} offers it at less.|{F} has it in stock.|otherwise {F} gets half|{F} gets the order then.|or we go back to {F}|{F} people say less|I know {F} talks of less|{F} is cheaper by 5%.|{F} can also put a lead on site.|{F} sold us the same|tell {F} the coat has changed|inspection by {F}|{F} will do it for less but loads late|mounting by {F}, five weekends|Greetings from {F}.|{F} sells the same ring|we use {F} for the rest|{F} and {F} are in|insured with {F}|account name {F}|Against {F} you are high.|im {G} from {F}|this is {G} of {F}|{G} ({F})|{G}, {F}|Facilities, {F}|Reply to my assistant {G} too.|My colleague {G} will prepare it.|with our quality lead {P}|taking over from {P}|boss {G} says fine|our metallurgist {G}|Welcome {G}!|driver is {G}|{G} may look whenever he wants.|{G} signs on Friday|checked with {G} who took the call|last month Ms {S} got less|Mr {S} approved it|sorry, dear {G}!|{G}, from dawn to dusk it runs.|hello mr {G}, this is {P} of {F}|ask {G} again|the reply of {G} {S}|
{F} is our main competitor here.|We moved the work from {F} to {F}.|since {F} closed, lead times doubled|it was {F} that damaged the pallets|We are {F}, based in {C}.|At {F} we never skip QA.|{F} - {C} branch|{F} Sales|The team at {F}
Happy to meet {G} at the {X} fair in {C}.|The {S} family has owned {F} since 1962.|{G} asked me to reply.|{G} is away until Monday, so {G} covers.|Let {G} know by Thursday.|Per {G}'s note, {X} is fine.|{G} & {G}, thanks both.
""".replace("\n", "|").split("|")  # fmt: skip


# {n} a bare price, {k} one in thousands, {w} one in words, {q} a number that is none, {b} a big one, {v} one in words.
_OFFERS = r"""
we were at {n}, you said {n}, so call it {n}|meet at {n}?|Meet me at {n} and we close today.|can do {n} if you take {q} rolls|its {n} like last time|{n} is my last word|I can't get to {n} on a {q}-month term.
So either the rate goes to {n} or we cut {q} seats.|On rate please consider {n}.|At {n} we make nothing.|{n} in Q{1}, {n} in Q{1}.|You hold {n} for both?|the others say {n}|A competitor in {C} can: {n}, {q} weeks.
I give {n} for DN {q}.|Ok {n} for {q} units and {n} only if order is {b} units.|Below {b} units it's {n}.|Simple answer: {n} on the {q} t and {n} on the small parcels.|Is your target really {n}?|ur old price was {n} a drum. take all {q} by fri and its {n}
cant go under {k} for the lot|do {k} flat, delivered|fine {k} flat|That makes {b} for the year.|{q} x {n} makes {n}; handling is extra.|management fee at {n} a month|Last year we paid {n}, the year before {n}.|You quoted {n}, we asked {n}, split the difference at {n}.
drop {n} off the pallet price|knock {n} off and it's yours|We would pay {n} each for the sound ones.|{n} apiece|{n} per box, {n} per pallet|{n}/kg|{n} a head|{n} the set|around {n} per hour|our rate is {n} per tonne|reduce from {n} to {n}|from {n} down to {n}
Could you come to {n}?|Would {n} work?|How about {n}, at sight, {q} shipments?|My boss says {n} fine, but {b} must ship by {q} May.|I can live with {n}.|We sit at {n} today.|Nobody sells under {n}.|include it at {k} and I won't tender|up to {k} for tooling
budget is {k}|our cap is {n}|not more than {n}|go as low as {n}|best I can is {n}|final {n}|{n} net net|{n}, take it|{n} and we have a deal|make it {n}|I'd sign at {n}|sold us the same at {n}|{n} franco|{n} ex works, {n} delivered|wir treffen uns bei {n}|nous propose {n} franco|me ha dado {n} con pago a {q} días
unser Ziel ist {n}|Bei {n} nehme ich {b} Stück|à {n} on signe|{n} pour {q} palettes|a {n} cerramos hoy|The index is at {q}.|We need {b} pieces.|{q} pallets, {q} weeks, {q} trucks|Lot {q}, item {q}.{1}|net {q} days|{q}% discount|page {1} of {q}|week {q} or week {q}|{q} mm by {q} mm
between {q} and {q} units a month|{q} to {q} weeks|{b} rpm, {q} V|batch {b}|in 20{q} we bought {b}|MOQ {b}|{q} boxes at {q} °C|{q} people on site, {q} shifts|{q} days a week|{q} x {q} mm|grade {q}|No. {q}|floor {q}|from {q} am to {q} pm|section {q}.{1}|we sold {b} last year|{b} km a year
{q} kg per drum|at {q} bar|at {q}%|up {q} points|{q} out of {q} lots|take {q} now and {q} later|order {q} or {q}|you asked for {q}, we shipped {q}|shift {q}|gate {q}|size {q}|line {q}|{q} hours|cut the lead time from {q} to {q} weeks|volume goes from {b} to {b}|call off {q} at a time|for {q} of the {q} sites
{b} a month is our volume|raise the order to {b}|we can promise {b} units in 20{q}|delivery {q}.{1}|by {q}/{1}|the {q}th|the {q}rd pallet|{q} g/m²|{b} copies|{b} L|make {q} drops|version {q}.{1}|{q} of us|do {q} a week|ship {q} on Monday|say {q} trucks|{q} more weeks|two lots of {q}|minimum {q}|about {q} pieces each|it takes {q}
A firm bid: {n} for {q} lots.|with a cap of {n}|I value it at {n}|{n} yes, {n} no|instead of {n}|against {n} before|your {n} is above the market|{n} is rich when the same part was {n} in 20{q}|let's say {n}|average out around {n}|{q} x {n} is {n}|I'd like {n}|I can only repeat {n}|he pays {n}|she gets {n} on direct debit
the total is {n}|The sum is {n} before tax|reach {n}|wanted {n} for it|they charge {n}|we're paying {n}|paid {n} in March|our cost alone is {n}|that leaves us {n}|gives {n} a piece|equals {n} per part|works out at {n}|comes to roughly {n}|so {n} all in|{n} all in|make it {n} including freight|and the rest at {n}|first lot {n}, second {n}
you laughed and said {n}|you write off {w}|could it be {w}|{w} is too much|call it {w}|I thought {w}, not {w}|somewhere near {w}|between {w} and {w}|we settled at {w}|budget is something like {k} to {k}|{n} to {n} depending on volume|from {n}-{n}|{n}/{n}/{n} for the three sizes|a rate of {n}|tariff {n}|list {n}, net {n}|{n} plus freight|freight {n}, duty {n}
increase to {n}|went from {n} to {n} in a year|was {n}, is {n}|new price {n} old price {n}|at {n} I lose money|margin is gone below {n}|floor is {n}|ceiling {n}|walk at {n}|I have {n} from your rival|matching {n}?|beat {n}?|better than {n}?|{n} or nothing|{n}?|{n}.|{n} ok?|ok {n}|deal at {n}|agreed {n}|{n} agreed, {q} weeks|{n} for {q} mesh|{n} for {q} t
{n} on {q} micron, MOQ {b}|take all {q} at {n}|{q} at {n} and {q} at {n}|{q} units at {n} each|quantity {q}, price {n}|{q} @ {n}|Qty {q} Rate {n}|hourly {n}, Sundays {n}|overtime {n}|day rate {n}|{n} per user per month, {q} users|seats at {n}|{n} a seat for {q} seats|per word {n}|per page {n}|a copy {n}|setup {n} once, then {n}
EUR side: {n}|in dollars {n}|{n} not {n}|not {n} but {n}|you have us at {n}|we stay at {n}|stay with {n}|hold {n} until June|freeze {n}|keep {n} for {q} months|{n} valid {q} days|surcharge {n}|toll {n}|deposit {n}|penalty {n} per day late|rebate {n} at {b} units|credit of {n}|refund {n}|invoice says {n}, order says {n}
{v} pallets|{v} weeks of stock|{v} of the {v} sites|in {v} days|{v} thousand units a year|take {v}|two or three of {v}|the last {v} bills|{v} trucks a week|page {v}|cut {v} seats|{v} percent|about {v} people|{b} and up|from {b} units|packaging {b} per box|{b} pieces per pallet|{q}% out|{q}:30|at {q}.30pm|until {q}.30|size {q} I've only {1} pairs|{1} pairs left|clause {q}.{1}
after {q} days|{q} days after release|joint review after {q} days|for the rate for 20{q}|No. {1}|house No. {q}|with {1} more homes|coverage is {q}.{1} m2 per litre|EAU is {b}|year one {b}, year two {b}|forecast {b}|we took {b}|only {b} were used|stock is {b}|{b} in the warehouse|{b} on order|minimum {b}|{b} then {b} in Q{1}|now and {b} in Q{1}|roughly {b} a week|{q} did fail|{q} arrived broken|of {b} shipped {q} were bad
hazard class {1}|UN {b}|pH {1}|{q} dB|{q} V, {q} A|{q} ppm|{q} µm|{q}/{q}|ratio {1}:{q}|room {b}|bay {q}|dock {1}|route {q}|team of {q}|aged {q}|open {q} to {q}|{q} hrs|rev {1}|v{1}.{q}|phase {1}|stage {1} of {1}|tier {1}|option {1}|annex {1}|part {b}|item {b}|drawing {b}|code {b}|serial {b}|model {b}|type {q}|class {q}|DN {q}|M{q}|{q} inch|{q} ft|{q} gauge|{q} ply|{q} gsm|{q} denier|{q} tex
"""  # fmt: skip


NAMES_THAT_ARE_WORDS = frozenset(
    "will mark rose may grace bill frank price young hope summer dawn penny joy faith rich drew sue pat rob jack gene art dean chase grant hunter "
    "carter mason cook baker miller cooper fisher potter porter turner carpenter taylor tanner page reed wood woods stone rice bush field fields "
    "hill lane street marsh moor ford bridge banks brook brooks dale glen heath ivy holly iris lily daisy violet olive ginger basil ruby pearl "
    "amber crystal jade opal sterling cash buck rusty dusty sunny stormy rain skye star angel christian bishop abbot pope king prince duke earl "
    "baron noble knight squire major sergeant guy chip chuck nick jimmy jerry harry don ray lance miles max norm stew ward wade wing wolf fox "
    "crane swan drake robin jay martin hawk bird bear lamb bull case chance charity constance mercy patience prudence temperance verity felicity "
    "gay merry bliss love darling best good goodman strong long short small little large moody swift sharp blunt bright dark black white brown "
    "green gray grey gold silver day week month winter spring autumn june april august march early late new old power powers hand foot head "
    "bond bell ball barber berry bloom bow box brand bright burns butler camp carr chambers church clay cole combs cross crow cotton curry dash "
    "dove fairy faulkner fine flower flowers forest freeman frost fry fuller gates glass golden goss grove hall hare harp hart hay haven hays "
    "hood horn house jolly judge justice kent key keys lake land law laws lemon light lock low mace maker mann mast mead mills mint money moon "
    "moss nail noon north north nun oak orange pace park parks parry peace peach peacock pepper perry pike pitt plum pond poole quick rand rich "
    "roach rod root rush sage salt sand savage self shade shepherd singer singleton skinner sky snow song speed spice stock story strange sands "
    "tan tide tiller trip true trust van vane wall waters weeks weaver webb wells west wheat wheeler wilder wise worth wren yates sky sandy tony "
    "harbour summit delta castle tower crown beacon anchor eagle falcon heron cedar willow maple birch river titan phoenix orion atlas nova apex".split()
)


@cache
def lists_of_names() -> tuple[frozenset[str], frozenset[str]]:
    """Lower-case given and family names in Latin script, from all of Faker's languages."""
    given: set[str] = set()
    family: set[str] = set()
    package = importlib.import_module("faker.providers.person")
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        provider = importlib.import_module(f"faker.providers.person.{module}").Provider
        for name in dir(provider):
            into = family if "last_name" in name else given if "first_name" in name else None
            values = getattr(provider, name)
            if into is None or not isinstance(values, (tuple, list, dict)):
                continue
            for value in values:
                if isinstance(value, str) and re.fullmatch(r"[A-Za-zÀ-ɏ][A-Za-zÀ-ɏ'’-]+", value):
                    into.add(value.lower())
    asia_given = "wei ming hui jing li na fang lei qiang jun yan xin yu ting hao jie min ling ying bo chao feng gang hong jia kai lan mei ning peng rui shan tao xiu yang zhen min-jun ji-woo seo-yeon hyun soo-jin eun-ji minh anh linh huong thuy trang dung tuan khanh bao phuc ahmed fatima layla omar khalid yasmin noura hassan huda salma tariq zainab bilal chidi ngozi emeka adaeze kwame ama kofi abena thabo lerato sipho nomsa wanjiru kamau njeri otieno".split()
    asia_family = "wang zhang liu chen yang zhao huang zhou wu xu sun hu zhu gao lin he guo ma luo liang song zheng xie han tang feng yu dong xiao kim park choi jung kang cho yoon jang lim nguyen tran pham hoang phan vu dang bui do ngo duong ly al-sayed hassan haddad khoury mansour okafor okonkwo adeyemi balogun mensah owusu boateng dlamini nkosi mokoena mwangi ochieng".split()
    return frozenset(given | set(asia_given)), frozenset(family | set(asia_family))


class Inventor:
    def __init__(self, chooser: random.Random) -> None:
        self._chooser = chooser
        given, family = lists_of_names()
        self._given, self._family = sorted(given), sorted(family)

    def given(self) -> str:
        return _capital(self._chooser.choice(self._given)) if self._chooser.random() < 0.9 else self._odd()

    def family(self) -> str:
        return _capital(self._chooser.choice(self._family)) if self._chooser.random() < 0.85 else self._odd()

    def _odd(self) -> str:
        """A name that stands in no list."""
        c = self._chooser
        return _capital(
            c.choice(_START)
            + c.choice(_MIDDLE)
            + c.choice(["a", "o", "ek", "ic", "ova", "ini", "as", "en", "u", "eth", "ia", "is", "ula", "ander"])
        )

    def person(self) -> str:
        c = self._chooser
        middle = f" {c.choice('ABCDEFGHJKLMNPRSTVW')}." if c.random() < 0.05 else ""
        return f"{self.given()}{middle} {self.family()}"

    def firm(self) -> str:
        c = self._chooser
        coined = (c.choice(_START) + c.choice(_MIDDLE) + c.choice(_END)).capitalize()
        initials = "".join(c.choice("ABCDEFGHKLMNPRSTVW") for _ in range(c.choice((2, 3, 3, 3))))
        bare = c.choice([
            f"{self.family()} {c.choice(_TRADE)}", f"{c.choice(_WORDS)} {c.choice(_TRADE)}", coined, coined, f"{coined} {c.choice(_TRADE)}",
            f"{self.family()} & {self.family()}", f"{self.family()} & {c.choice(['Sons', 'Co', 'Partners', 'Söhne', 'Figli', 'Hijos', 'Brothers'])}",
            c.choice(_WORDS), f"{initials} {c.choice(_TRADE)}", initials, f"{self.family()} {c.choice(_WORDS)}",
            f"{c.choice(_WORDS)}{c.choice(['pack', 'tek', 'line', 'works', 'chem', 'flex', 'print', 'trans'])}", f"{c.choice(_CITIES)} {c.choice(_TRADE)}",
            f"{c.choice(_WORDS)} & {c.choice(_WORDS)}", f"{c.choice(['Groupe', 'Grupo', 'Gruppo', 'Maison', 'Casa', 'Industrias', 'PT', 'Hermanos', 'Gebrüder', 'Officine'])} {self.family()}",
            f"{self.family()}", f"{c.choice(_WORDS)} {c.choice(_WORDS)} {c.choice(_TRADE)}", f"{coined}-{c.choice(_END).capitalize()}",
        ])  # fmt: skip
        return f"{bare} {c.choice(_LEGAL)}" if c.random() < 0.25 else bare

    def person_like(self, old: str) -> str:
        """A given name for a single word, else as many words as before; a surname where it is one."""
        count = len(old.split())
        if count == 1:
            return self.given() if self._chooser.random() < 0.65 else self.family()
        return self.person()

    def firm_like(self, old: str) -> str:
        legal = LEGAL.search(old)
        new = LEGAL.sub("", self.firm())
        if legal:
            return f"{new} {self._chooser.choice(_LEGAL)}"
        return new.split()[0] if " " not in old and self._chooser.random() < 0.7 else new

    def messages(self, n: int) -> list[tuple[str, tuple[Span, ...]]]:
        """Short messages with their spans; a tenth in small letters."""
        c = self._chooser
        templates = [template for template in _MESSAGES if template.strip()]
        made = []
        for _ in range(n):
            template = "\n".join(c.choice(templates).replace("\\n", "\n") for _ in range(c.choice((1, 1, 2, 3))))
            text, spans = _filled(template, self._slot, dict.fromkeys("PGS", "PERSON") | {"F": "FIRM"})
            if c.random() < 0.1 and len(text.lower()) == len(text):
                text = text.lower()
            made.append((text, spans))
        return made

    def _slot(self, kind: str) -> str:
        match kind:
            case "P":
                return self.person()
            case "G":
                return self.given()
            case "S":
                return self.family()
            case "F":
                return self.firm()
            case _:
                return self._chooser.choice(_CITIES if kind == "C" else _PRODUCTS)

    def offers(self, n: int) -> list[tuple[str, tuple[Span, ...]]]:
        """Short messages with bare prices among other numbers; a talk's prices are near each other."""
        c = self._chooser
        templates = [template for template in _OFFERS.replace("\n", "|").split("|") if template.strip()]
        made = []
        for _ in range(n):
            template = c.choice([". ", " ", ", ", "\n"]).join(
                c.choice(templates) for _ in range(c.choice((1, 2, 2, 3)))
            )
            size = 10 ** c.uniform(-0.5, 3.5)
            made.append(_filled(template, partial(self._number, size), dict.fromkeys("nkw", "PRICE")))
        return made

    def _number(self, size: float, kind: str) -> str:
        c = self._chooser
        if kind == "C":
            return c.choice(_CITIES)
        if kind == "w":
            whole = c.choice(_SPELLED[9:])
            return c.choice(
                (
                    f"{whole} thousand",
                    f"{whole} hundred",
                    whole,
                    f"{whole} and a half thousand",
                    f"{whole} fifty",
                    f"{whole} and a half",
                )
            )
        if kind == "v":
            return c.choice(_SPELLED)
        if kind == "1":
            return str(c.randrange(1, 5))
        if kind == "q":
            return str(c.choice((c.randrange(2, 13), c.randrange(2, 100), 5 * c.randrange(2, 60))))
        if kind == "b":
            count = c.choice((100, 500, 1_000)) * c.randrange(1, 90)
            return c.choice(
                (
                    f"{count:,}",
                    str(count),
                    f"{count:,}".replace(",", c.choice(". '")),
                    f"{count // 1000}k" if count >= 1000 else str(count),
                )
            )
        if kind == "k":
            return f"{c.choice((c.randrange(3, 90), round(c.uniform(1, 20), 1)))}k"
        value = size * c.uniform(0.7, 1.3)
        if value >= 100:
            rounded = round(value) if c.random() < 0.5 else 5 * round(value / 5)
            return f"{rounded:,}" if c.random() < 0.7 else str(rounded)
        text = f"{value:.{c.choice((2, 2, 2, 1, 0, 3)) if value < 10 else c.choice((2, 2, 1, 0))}f}"
        return text.replace(".", ",") if c.random() < 0.12 else text


def _filled(template: str, make: Callable[[str], str], kinds: dict[str, str]) -> tuple[str, tuple[Span, ...]]:
    """The template with a value in each slot such as {P}, and spans where the slot's letter has a kind."""
    text, at = "", 0
    spans: list[Span] = []
    for slot in re.finditer(r"\{(\w)\}", template):
        text += template[at : slot.start()]
        new = make(slot[1])
        if slot[1] in kinds:
            spans.append((len(text), len(text) + len(new), kinds[slot[1]]))
        text += new
        at = slot.end()
    return text + template[at:], tuple(spans)


def _capital(name: str) -> str:
    return re.sub(r"(?:^|(?<=[-'’ ]))\w", lambda m: m.group().upper(), name)
