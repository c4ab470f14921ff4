import os
import time
from pathlib import Path

from icwsgw.ic.delegated_identity import DelegatedIdentity, sign_delegation
from icwsgw.ic.ecdsa_identity import EcdsaIdentity, identity_of_pem
from icwsgw.ic.identity import Ed25519Identity

# a new key, kept in a file
file = Path("person.pem")
file.write_text(EcdsaIdentity.generate("secp256k1").to_pem())
person = identity_of_pem(file.read_text())

# another key that acts for this person for an hour
session = Ed25519Identity.generate(os.urandom)
delegation = sign_delegation(person, session.public_key_der, time.time_ns() + 3600 * 10**9)
acting = DelegatedIdentity(session, person.public_key_der, [delegation])
assert acting.principal == person.principal
print(acting.principal)
