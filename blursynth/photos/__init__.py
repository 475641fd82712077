"""Photographs: opened upright with their metadata and depth, saved the same way.

Pillow checks that a file is what its first bytes say, and whole, and reads its metadata. It would cut 16-bit colour to
8 bits; OpenCV would not, but sees neither truncation nor metadata. So Pillow opens every file, and OpenCV takes over
the pixels of the 16-bit ones.

A file of the same format gets back its EXIF (byte for byte, except that Pillow lays it out anew in TIFF and AVIF), ICC
profile, XMP and resolution; a JPEG also its quantisation tables, chroma subsampling, comment and IPTC; a PNG also its
colour and text chunks. Not kept: thumbnails, the further pictures inside a JPEG (gain and depth maps) and XMP beyond
its first 64 kB, IPTC of a TIFF, all but the resolution of a BMP, and more than 8 bits of an AVIF or HEIC.
"""

from blursynth.photos.photo import PHOTO_SUFFIXES, Photo
from blursynth.photos.reading import decode_photo, read_photo
from blursynth.photos.writing import encode_photo, write_photo

__all__ = ["PHOTO_SUFFIXES", "Photo", "decode_photo", "encode_photo", "read_photo", "write_photo"]
