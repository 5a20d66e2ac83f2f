"""The report on paper: canonical content, A4 PDF, one signature per signer, verification (DESIGN §2).

Everything here is synchronous and thread-safe, knows no HTTP and no SQL, and is meant to be called in a thread.
"""
