-- The same of an organisation ($1). No index: organisations end seldom.
UPDATE cases
   SET title = '', body = '', tags = '{}', author_name = '', findings = '', note = '', public_reason = '',
       author_id = '00000000-0000-0000-0000-000000000000',
       state = CASE WHEN state = 1 THEN 3 ELSE state END,
       resolve_time = coalesce(resolve_time, now())
 WHERE org_id = $1 AND author_id <> '00000000-0000-0000-0000-000000000000'
