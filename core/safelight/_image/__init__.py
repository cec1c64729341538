"""What `safelight.image` is made of: reading, colour, writing. Nothing here is for use from outside.

::

    reading   the way from a file to arrays          writing   the way from arrays to a file
      opening   which format, limits, exceptions       png       PNG, 8 and 16 bit
      pixels    strips of any 8-bit mode               tiff      TIFF, 8 and 16 bit
      sixteen   strips of 16-bit and 32-bit modes      deflate   pieces of one compressed stream
      damage    what the decoders do not notice        planes    the arrays, strip by strip
      profiles  to sRGB                                filters   PNG's rows, and which filter to take
      icc       curves, matrices, the profiles embedded
      quiet     global switches of the libraries
"""

from __future__ import annotations

__all__: list[str] = []
