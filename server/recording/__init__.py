"""A recorded session: who agreed to it, the encrypted log that the relay writes, one film of it, and its vault."""
