"""
Towards the customer: choose, wait, consent, what I share, problem - in Swedish, Finnish, Polish and English.

Owns the templates, the words, the style and the headers every page carries. A page is a frozen view (`views`) and one
call of `render.Pages.render`. It must not know stores, providers or protocols, and decides nothing.
"""
