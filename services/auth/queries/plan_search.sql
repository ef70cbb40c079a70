-- First in a transaction that searches: the one statement whose plan depends on what is asked for. Two indexes can only
-- be joined as bitmaps, which the kit discourages elsewhere (docs/decisions/0009).
SELECT set_config('enable_bitmapscan', 'on', true), set_config('plan_cache_mode', 'force_custom_plan', true)
