"""What the demo's rooms have talked about: for each room its members and who said what."""

# Besides these there are "demo", who is a member everywhere but in "Repairs", and Notice.
COLLEAGUES = ["robin", "mara", "emre", "ida", "kofi"]

# What anybody may join; into others people are invited.
OPEN = {"general", "goods-out", "orders", "kitchen"}
# slug, name, topic, members, what was said, how much of it "demo" has not read.
# The first member has made the room; a name in brackets ends a line with a file of the speaker.
ROOMS: list[tuple[str, str, str, str, str, int]] = [
    (
        "general",
        "General",
        "Everybody, about everything",
        "demo robin mara emre ida kofi guest",
        """
mara: Good morning! The heating on the second floor works again.
kofi: Finally. I was about to bring a blanket.
ida: Facilities say it was one valve, since October.
robin: One valve to rule us all
emre: Does anybody have the key to the big meeting room?
mara: It hangs next to the printer now, on the green hook.
emre: Found it, thanks!
kofi: Reminder: the lift is serviced on Thursday between 9 and 11.
robin: Noted. We have two deliveries that morning, I will ask them to come at noon.
ida: New photos of the lamps are in. The moss one is great. [moss-lamp.png]
mara: Oh, they do. Are they in the shop yet?
ida: Tonight, with the other spring things.
emre: The search also finds SKUs in lower case now. You asked for that last week, @robin.
robin: I did! That saves me a dozen clicks a day.
kofi: Who ordered eleven boxes of packing tape?
mara: That would be me. They had a price for eleven.
kofi: Of course they had.
ida: Lunch: soup at twelve, who is in?
robin: In.
emre: In, with bread.
mara: Me too, ten minutes later.
kofi: Save me a bowl, I am unloading until quarter past.
ida: Done. It is on the stove, with your name on it.
emre: Heads-up: I restart the shop's servers at 14:00. You should not notice.
mara: We never do, and that is a compliment.
emre: Restart is done. 0 requests lost, 3 coffees drunk.
robin: A customer just wrote that the rolling pin survived a house move and two children.
ida: May I quote that on the product page?
robin: They say yes, if we spell their dog's name right. It is Brezel.
ida: Brezel it is.
kofi: Stocktaking is on the 28th. Put your name on the list. [stocktaking.csv]
mara: Put me down for the morning.
emre: Me too. I bring the scanner that works.
ida: I can do the glassware, I have steady hands.
kofi: You are heroes. There will be cake.
robin: What kind?
kofi: The kind for people who have put their name on the list.
robin: My name is on the list.
mara: Quarterly figures are out: fewer returns than ever, most of all for chairs.
emre: That is the new assembly sheet. It finally shows which screw is which.
ida: Twelve drawings, four drafts. Worth it!
kofi: Then do the bookshelves next, please. The corner one comes back every week.
ida: It is on my desk, literally. I am building one to see where people go wrong.
robin: And?
ida: I have gone wrong twice.
mara: Take notes, that is the best manual there is.
emre: @kofi The coffee machine wants descaling. I say so because it has for a week.
kofi: I do it on my way out.
robin: The supplier of the blue mugs asks whether we want the same number again.
mara: How many are left?
robin: 41, and we sell about nine a week.
mara: Then yes, and they should come before the holidays.
robin: Ordered. They promise three weeks.
ida: Long form of “three weeks”: see the sand-coloured curtains.
robin: I have told them about the curtains.
emre: Thank you all for the tests yesterday. Two real bugs, both are mended.
mara: Was one of them the basket that counted backwards?
emre: It was. It is now afraid of me.
kofi: Parcel van is early today: everything for the second run by 15:30, please.
ida: @demo @mara The spring pages are ready to look at. [spring-window.png]
ida: Be honest, but not before coffee.
""",
        3,
    ),
    (
        "goods-out",
        "Goods out",
        "Packing, parcels, and what the van forgot",
        "demo robin mara kofi",
        """
kofi: First run is out, 84 parcels.
mara: Any trouble with the floor lamps?
kofi: They fit since we turn the foot around. No more tubes of 1.60 m.
robin: A customer in the hills asks whether the van comes on Fridays.
kofi: Tuesdays and Fridays, weather permitting.
mara: The label printer at table two eats every tenth label.
kofi: It needs a new roller. Ordered, comes tomorrow. Use table three until then.
mara: Table three has no chair.
kofi: It has one now.
robin: The order with four duvets: can it go in one box?
kofi: If you sit on it, yes. Two boxes are kinder.
mara: Second run is out, 61 parcels, and nobody sat on anything.
""",
        0,
    ),
    ("orders", "Orders", "The shop tells of what was ordered", "demo robin mara emre", "", 5),
    (
        "repairs",
        "Repairs",
        "What comes back, and how it leaves again",
        "robin ida kofi",
        """
ida: The kettle with the loose handle: two screws of 4 mm, that is all.
kofi: We have a jar of those.
robin: The owner is coming by at four.
ida: It is on the shelf, and whistling.
""",
        0,
    ),
    (
        "kitchen",
        "Kitchen",
        "What is for lunch, and whose turn it is",
        "ida emre kofi",
        """
ida: Tomorrow: lentils with lemon. Vegan, and nobody has to be brave.
emre: I bring bread. @kofi, is it your turn with the dishes?
kofi: It is always my turn with the dishes.
ida: That is not an answer, but it is a yes.
""",
        0,
    ),
]
