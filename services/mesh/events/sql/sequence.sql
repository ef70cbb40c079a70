SELECT head, sequenced FROM mesh_sequence_outbox($1)
