"""Finding what is in a picture."""

from .subject import Subject, find_subject

__all__ = ["Subject", "find_subject"]
