"""Channels that carry a signed report further than the inbox, each at its own pace, one copy each."""
