"""Where in an image words are, and how large: what is worth reading at which scale.

As AutoFocus does for objects (Najibi et al., ICCV 2019): a light network looks at the whole image
at a low scale and marks the places that deserve a second look; rectangles around these, *chips*,
are cut out of the image and read, each at a scale of its own, and the rest is not read at all.
"""
