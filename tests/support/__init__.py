"""What several tests share: small models, processes and command lines to run, versions, fingerprints."""
