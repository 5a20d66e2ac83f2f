"""Accounts, logins, viewing grants and the audit helper."""
