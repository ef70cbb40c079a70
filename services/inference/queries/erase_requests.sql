-- Records of an organisation ($1) of a day ($3) lose their person ($2; null: all people), key, tags and texts. A record's
-- id is made while its call runs, which may begin on the day before the next, and last.
UPDATE requests
   SET user_id = '00000000-0000-0000-0000-000000000000', api_key_id = '00000000-0000-0000-0000-000000000000',
       tags = '{}', tags_other = NULL, input_text = NULL, output_text = NULL
 WHERE org_id = $1 AND ($2::uuid IS NULL OR user_id = $2)
   AND id >= first_uuid7($3::timestamptz - interval '1 hour') AND id < first_uuid7($3::timestamptz + interval '2 days')
   AND (user_id <> '00000000-0000-0000-0000-000000000000' OR tags <> '{}' OR input_text IS NOT NULL
        OR output_text IS NOT NULL)
