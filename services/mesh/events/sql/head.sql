SELECT position, dropped FROM outbox_head
