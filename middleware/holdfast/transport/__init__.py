"""One send over aiohttp: the body, the guard against aiohttp's own re-send, and what each of its failures means."""
