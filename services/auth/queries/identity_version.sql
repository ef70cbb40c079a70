SELECT position FROM outbox_head
