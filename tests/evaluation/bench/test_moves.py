"""What a reply offers or takes, as a buyer's colleague would read it."""

from __future__ import annotations

import pytest

from joshi.evaluation.bench.moves import Quantity, read

ASKED = 1795.0


@pytest.mark.parametrize(
    ("reply", "offers", "accepts"),
    [
        ("We can accept £1,700 if you hold it.", (1700,), False),
        ("We cannot accept £1,795, but could meet you at £1,700.", (1700,), False),
        ("Could you come down from £1,795 to £1,700 a tonne?", (1700,), False),
        ("Could you lower £1,795 to £1,700?", (1700,), False),
        ("We can offer £1,700, not £1,795.", (1700,), False),
        ("Instead of Rs 1,795, we can offer Rs 1,700.", (1700,), False),
        ("We can offer R1700 a load.", (1700,), False),
        ("Compared with £1,795, £1,700 a tonne would work for us.", (1700,), False),
        ("Too expensive. £1,700 per tonne.", (1700,), False),
        ("Would £1,705 work for 12 months?", (1705,), False),
        ("We would need £1,690 to sign today.", (1690,), False),
        ("Let's settle at £1,710.", (1710,), False),
        ("How about 1,700?", (1700,), False),
        ("£1,795 is more than we can do; £1,700 would work.", (1700,), False),
        ("That works for us. Please send the order.", (), True),
        ("Agreed. Please send it.", (), True),
        ("We accept.", (), True),
        ("We'll take your offer.", (), True),
        ("Your price of £1,795 is accepted.", (), True),
        ("We accept £1,795 a tonne from 1 April.", (), True),
        ("We can pay £1,795.", (), True),
        ("The woodworm is ours to pay for, and we accept £1,795. How many of the first 1,600 come by May?", (), True),
        ("At last year's price it's a deal. Could you send a pro forma?", (), True),
        ("We accept your payment terms. On price we can offer £1,700.", (1700,), False),
        ("The second run at £1,795 is on us, then.", (), True),
        ("With resin where it is, your new price is fine.", (), True),
        ("We accept the surcharge for now.", (), True),
        ("We accept your minimum for this season.", (), True),
        ("We can accept that for the balance.", (), True),
        ("Fine by us.", (), True),
        ("£1,795 a cover works for us.", (), True),
        ("Fine, you have our order at £1,795.", (), True),
        ("All right, £1,795 it is.", (), True),
        ("You have a deal.", (), True),
        ("We can't do £1,795, so £1,700 it is.", (1700,), False),
        ("Getting the press down to 1,520 was kind of you.", (), False),
        ("We only hold the 2021 revision.", (), False),
        ("Would £1,726 do for all 1,038?", (1726,), False),
        ("Please go ahead on those terms.", (), True),
        ("If she gave you her word, then consider it agreed.", (), True),
        ("Coming down to £1,795 shows goodwill. What drives the rest?", (), False),
        ("Could you improve the £1,795?", (), False),
        ("I hear your £1,795. What drives it?", (), False),
        ("Could you confirm your price?", (), False),
        ("Could you take that into account?", (), False),
        ("Would you accept a call-off plan?", (), False),
        ("Thank you, we take your point on the invoices.", (), False),
        ("I agree with your point about the photos.", (), False),
        ("We will take it up with the warehouse.", (), False),
        ("We accept the rise in hides is real.", (), False),
        ("We'd like to see the index before we talk about £1,795 a tonne.", (), False),
        ("A rise to £1,795 is a lot to take in. Could you send the index?", (), False),
        ("Resin took 1,640 tonnes last year. Could you send the index?", (), False),
    ],
)
def test_a_reply_is_read_as_a_colleague_would(reply: str, offers: tuple[float, ...], accepts: bool) -> None:
    move = read(reply, ASKED)
    assert (move.offers, move.accepts) == (offers, accepts)


@pytest.mark.parametrize(
    ("reply", "what", "offers"),
    [
        ("Could we keep net 45 days?", "days", (45,)),
        ("We can do net 30.", "days", (30,)),
        ("15 days is hard to do. We pay within 30 days.", "days", (30,)),
        ("We can accept 3% from June.", "percent", (3,)),
        ("Could you make it 400 instead of 1,000?", "quantity", (400,)),
        ("Would 120 tonnes be possible on 23 July?", "quantity", (120,)),
    ],
)
def test_days_shares_and_quantities(reply: str, what: Quantity, offers: tuple[float, ...]) -> None:
    standing = {"days": 15.0, "percent": 9.5, "quantity": 1000.0}[what]
    assert read(reply, standing, what).offers == offers
