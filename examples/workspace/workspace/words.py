"""Word lists from which the demo's data are composed. The surnames are made of two halves each,
so that nobody in particular is meant."""


def _words(text: str) -> list[str]:
    return text.split()


FIRST_NAMES = _words(
    "Ada Amara Anneke Anton Aylin Bastian Bea Bruno Carla Chidi Clara Dara Dilan Edda Elif "
    "Emre Enno Esme Farid Femke Fiona Goran Greta Hana Hugo Ida Ilse Imani Ines Ivo Jana "
    "Jonas Juno Kaja Karim Kofi Lea Levin Lina Luca Maja Malik Mara Mika Milan Nadia Nils "
    "Nora Ola Omar Paula Pia Quirin Rafa Rosa Runa Sami Selma Sven Tala Timo Uma Vera Wanda "
    "Yara Zeno"
)
SURNAME_HEADS = _words(
    "Alder Ash Birch Briar Clay Copper Elm Fern Flint Gorse Hazel Heather Larch Linden Moss "
    "Quill Reed Rowan Sorrel Stone Thorn Willow Wren Yarrow"
)
SURNAME_TAILS = _words(
    "beck bridge brook combe croft den field gate ham ley mere stead ton wick"
)

TEAMS = [
    ("Accounts", "Invoices, salaries and the yearly statement"),
    ("Assembly", "Puts together what comes in parts"),
    ("Buying", "Finds suppliers and keeps them"),
    ("Catalogue", "Texts and pictures of every product"),
    ("Customer care", "Answers whoever writes or calls"),
    ("Data", "Figures that the others decide by"),
    ("Design", "How things look and feel"),
    ("Facilities", "Keys, heating, desks and plants"),
    ("Goods in", "Counts and stores what arrives"),
    ("Goods out", "Packs and sends what was ordered"),
    ("Infrastructure", "Servers, networks and backups"),
    ("Legal", "Contracts and the small print"),
    ("Marketing", "Lets people know that we exist"),
    ("People", "Hiring, training and holidays"),
    ("Platform", "The software that all teams share"),
    ("Quality", "Breaks things before customers do"),
    ("Repairs", "Mends what comes back"),
    ("Sales", "Looks after the large customers"),
    ("Shop", "The web shop, from search to receipt"),
    ("Workshop", "Makes the prototypes"),
]
ROLES = ["Lead", "Senior", "Specialist", "Coordinator", "Assistant", "Trainee"]

# Each category: its name, a price to start from in euro, and the things that are in it.
CATEGORIES: list[tuple[str, int, str]] = [
    ("Backpacks", 45, "Daypack,Rucksack,Sling bag,Duffel,Roll-top"),
    ("Baking", 12, "Loaf tin,Cake ring,Rolling pin,Dough scraper,Baking sheet"),
    ("Bath", 14, "Bath towel,Soap dish,Bath mat,Shower caddy,Robe hook"),
    ("Bedding", 35, "Duvet cover,Pillowcase,Fitted sheet,Blanket,Quilt"),
    ("Bicycles", 28, "Pannier,Bell,Floor pump,Saddle,Mudguard"),
    ("Board games", 24, "Tile game,Dice set,Card game,Word game,Puzzle"),
    ("Bookshelves", 85, "Wall shelf,Ladder shelf,Cube shelf,Book end,Corner shelf"),
    ("Candles", 9, "Pillar candle,Tea lights,Candlestick,Lantern,Snuffer"),
    ("Chairs", 95, "Side chair,Stool,Armchair,Folding chair,Rocking chair"),
    ("Cleaning", 8, "Dish brush,Broom,Dustpan,Bucket,Scrubbing cloth"),
    ("Coffee", 22, "Dripper,Hand grinder,Moka pot,Coffee canister,Milk jug"),
    ("Cookware", 48, "Saucepan,Frying pan,Casserole,Stockpot,Griddle"),
    ("Curtains", 39, "Curtain,Roller blind,Curtain rod,Tie-back,Net curtain"),
    ("Desks", 160, "Writing desk,Standing desk,Desk tray,Monitor riser,Drawer unit"),
    ("Garden", 19, "Trowel,Watering can,Secateurs,Planter,Hand fork"),
    ("Glassware", 11, "Tumbler,Carafe,Wine glass,Storage jar,Vase"),
    ("Hand tools", 17, "Hammer,Screwdriver set,Spirit level,Pliers,Hand saw"),
    ("Headphones", 75, "Over-ear headphones,Earbuds,Headset,Cable set,Headphone stand"),
    ("Kitchen knives", 32, "Chef's knife,Paring knife,Bread knife,Whetstone,Knife block"),
    ("Lamps", 55, "Desk lamp,Floor lamp,Pendant,Clip lamp,Night light"),
    ("Notebooks", 7, "Notebook,Sketchbook,Planner,Index cards,Refill pad"),
    ("Outdoors", 34, "Camp stove,Water bottle,Head torch,Hammock,Picnic rug"),
    ("Pens", 6, "Fountain pen,Fineliner,Pencil set,Marker,Ink bottle"),
    ("Pets", 13, "Dog lead,Cat bed,Feeding bowl,Grooming brush,Scratching post"),
    ("Rugs", 110, "Runner,Round rug,Wool rug,Door mat,Flatweave"),
    ("Storage", 16, "Lidded box,Wire basket,Drawer divider,Hanging organiser,Crate"),
    ("Tableware", 10, "Dinner plate,Bowl,Mug,Serving dish,Egg cup"),
    ("Tea", 18, "Teapot,Tea strainer,Kettle,Tea caddy,Cup and saucer"),
    ("Toys", 15, "Building blocks,Wooden train,Spinning top,Stacking rings,Kite"),
    ("Travel", 29, "Packing cube,Wash bag,Neck pillow,Luggage tag,Passport wallet"),
]
STYLES = _words(
    "Aster Bergen Calla Delta Ember Fjord Grove Harbour Islet Juniper Kestrel Lumen Meadow "
    "Nord Orchard Pebble Quarry Ridge Saffron Tundra"
)
FINISHES = [
    ("oak", "Oak from managed woods, oiled by hand."),
    ("slate", "In a dark grey that forgives fingerprints."),
    ("sand", "In a warm, light tone that goes with most others."),
    ("moss", "In a deep green, dyed through and through."),
    ("chalk", "Matt white, easy to wipe clean."),
    ("clay", "In the red-brown of a flower pot."),
    ("ink", "In a blue that is nearly black."),
    ("raw", "Left without varnish: it grows darker with the years."),
]
PRAISE = [
    "Made to be repaired: spare parts are kept for ten years.",
    "Small enough for a drawer, solid enough for every day.",
    "Comes in a plain cardboard box with nothing to throw away.",
    "A quiet design that will not look dated soon.",
    "Tested by our own workshop for a year before it was listed.",
]
