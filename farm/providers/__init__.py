"""Providers: who sells what, at which price, under which key, and how fast they may be asked. Buying is farm/burst."""

from farm.providers.entry import Consent, Entry, Match, SoldModel
from farm.providers.offers import Offer, Offers, offers
from farm.providers.registry import KeyMissing, Providers

__all__ = ["Consent", "Entry", "KeyMissing", "Match", "Offer", "Offers", "Providers", "SoldModel", "offers"]
