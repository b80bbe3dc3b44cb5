"""Ten made-up app users in the shape that JSONPlaceholder gives its own.

What belongs here: the records, with the nesting (`address.geo`, `company`) and the loose formats (phones,
zip codes, coordinates as text) of the original. What does not: real people, and paging or serving
(`sandbox.server`). Some users share a city, so that counts by city are not all one. Domains end
in `.example`, which is reserved.
"""

from collections.abc import Mapping
from typing import Any

User = Mapping[str, Any]

USERS: tuple[User, ...] = (
    {
        "id": 1,
        "name": "Ingrid Solberg",
        "username": "isol",
        "email": "ingrid.solberg@fjordmail.example",
        "address": {
            "street": "Tideway Lane",
            "suite": "Apt. 12",
            "city": "Port Amara",
            "zipcode": "10421-3381",
            "geo": {"lat": "-41.2087", "lng": "87.4410"},
        },
        "phone": "1-555-010-2231 x118",
        "website": "solberg.example",
        "company": {
            "name": "Northlight Freight",
            "catchPhrase": "Harbour-wide route planning",
            "bs": "streamline cold chain handovers",
        },
    },
    {
        "id": 2,
        "name": "Mateus Carvalho",
        "username": "mcarv",
        "email": "mateus@carvalho.example",
        "address": {
            "street": "Orchard Rise",
            "suite": "Suite 804",
            "city": "Port Amara",
            "zipcode": "10422-9917",
            "geo": {"lat": "-41.2193", "lng": "87.4526"},
        },
        "phone": "(555) 010-7719",
        "website": "carvalho.example",
        "company": {
            "name": "Carvalho & Daughters",
            "catchPhrase": "Seasonal zero-waste catering",
            "bs": "bundle neighbourhood menus",
        },
    },
    {
        "id": 3,
        "name": "Amina Yusuf",
        "username": "aminay",
        "email": "amina.yusuf@lanternworks.example",
        "address": {
            "street": "Kiln Street",
            "suite": "Apt. 3",
            "city": "Lower Wexmoor",
            "zipcode": "55871",
            "geo": {"lat": "52.9077", "lng": "-3.1188"},
        },
        "phone": "555.010.4402",
        "website": "lanternworks.example",
        "company": {
            "name": "Lanternworks",
            "catchPhrase": "Low-voltage modular lighting",
            "bs": "retrofit heritage facades",
        },
    },
    {
        "id": 4,
        "name": "Tomasz Wierzba",
        "username": "twierzba",
        "email": "tomek@wierzba.example",
        "address": {
            "street": "Millrace Road",
            "suite": "Suite 210",
            "city": "Qadira",
            "zipcode": "80034-1120",
            "geo": {"lat": "24.7912", "lng": "-161.3350"},
        },
        "phone": "1-555-010-6683",
        "website": "wierzba.example",
        "company": {
            "name": "Wierzba Acoustics",
            "catchPhrase": "User-centred quiet rooms",
            "bs": "calibrate open-plan offices",
        },
    },
    {
        "id": 5,
        "name": "Leilani Kahale",
        "username": "lkahale",
        "email": "leilani@reefnotes.example",
        "address": {
            "street": "Breadfruit Drive",
            "suite": "Suite 17",
            "city": "St. Orrin",
            "zipcode": "33560",
            "geo": {"lat": "-31.8129", "lng": "62.5342"},
        },
        "phone": "(555) 010-1180",
        "website": "reefnotes.example",
        "company": {
            "name": "Reefnotes Publishing",
            "catchPhrase": "Slow-format field guides",
            "bs": "syndicate tidal observations",
        },
    },
    {
        "id": 6,
        "name": "Dmitri Okonkwo",
        "username": "dokonkwo",
        "email": "d.okonkwo@gridlane.example",
        "address": {
            "street": "Switchback Court",
            "suite": "Apt. 950",
            "city": "Qadira",
            "zipcode": "80031-0402",
            "geo": {"lat": "24.8002", "lng": "-161.3172"},
        },
        "phone": "1-555-010-9935 x7",
        "website": "gridlane.example",
        "company": {
            "name": "Gridlane",
            "catchPhrase": "Demand-led rooftop storage",
            "bs": "aggregate feeder-level forecasts",
        },
    },
    {
        "id": 7,
        "name": "Saoirse Lindqvist",
        "username": "saoirsel",
        "email": "saoirse@thistleandtin.example",
        "address": {
            "street": "Rookery Walk",
            "suite": "Suite 280",
            "city": "Eastmarch",
            "zipcode": "58804-1099",
            "geo": {"lat": "24.6463", "lng": "-168.8889"},
        },
        "phone": "555.010.3357",
        "website": "thistleandtin.example",
        "company": {
            "name": "Thistle and Tin",
            "catchPhrase": "Configurable tabletop kits",
            "bs": "reprint limited collections",
        },
    },
    {
        "id": 8,
        "name": "Rahul Iyer",
        "username": "riyer",
        "email": "rahul.iyer@monsoonlabs.example",
        "address": {
            "street": "Banyan Crossing",
            "suite": "Suite 729",
            "city": "Port Amara",
            "zipcode": "10425",
            "geo": {"lat": "-41.1990", "lng": "87.4301"},
        },
        "phone": "(555) 010-5548 x52",
        "website": "monsoonlabs.example",
        "company": {
            "name": "Monsoon Labs",
            "catchPhrase": "Proactive leak detection",
            "bs": "instrument municipal mains",
        },
    },
    {
        "id": 9,
        "name": "Chiara Bellandi",
        "username": "cbellandi",
        "email": "chiara@bellandi.example",
        "address": {
            "street": "Old Foundry Way",
            "suite": "Apt. 449",
            "city": "Velmoor",
            "zipcode": "76495-3109",
            "geo": {"lat": "37.4417", "lng": "-12.9083"},
        },
        "phone": "1-555-010-8804",
        "website": "bellandi.example",
        "company": {
            "name": "Bellandi Restauro",
            "catchPhrase": "Reversible fresco conservation",
            "bs": "document pigment layers",
        },
    },
    {
        "id": 10,
        "name": "Noah Tsosie",
        "username": "ntsosie",
        "email": "noah.tsosie@mesacart.example",
        "address": {
            "street": "Juniper Loop",
            "suite": "Suite 198",
            "city": "Eastmarch",
            "zipcode": "58807",
            "geo": {"lat": "24.6589", "lng": "-168.9011"},
        },
        "phone": "555.010.2006",
        "website": "mesacart.example",
        "company": {
            "name": "Mesacart",
            "catchPhrase": "Last-kilometre cargo bikes",
            "bs": "schedule shared loading bays",
        },
    },
)
