-- Open cases of an author ($1) are over, and what is left tells what was decided when, and nothing of whom.
UPDATE cases
   SET title = '', body = '', tags = '{}', author_name = '', findings = '', note = '', public_reason = '',
       author_id = '00000000-0000-0000-0000-000000000000',
       state = CASE WHEN state = 1 THEN 3 ELSE state END,
       resolve_time = coalesce(resolve_time, now())
 WHERE author_id = $1
