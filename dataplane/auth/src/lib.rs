//! Who is calling: bearer tokens, API keys, and the cache of verified callers.
