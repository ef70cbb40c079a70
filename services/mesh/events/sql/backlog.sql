SELECT (SELECT count(*) FROM outbox WHERE position IS NULL) AS unsequenced,
       outbox_head.position - relay_cursor.published AS unpublished
  FROM outbox_head CROSS JOIN relay_cursor
