SELECT coalesce(sum(CASE state WHEN 'running' THEN trials_total - trials_completed - trials_pruned - trials_failed WHEN 'refitting' THEN 1 END), 0) FROM trawl.studies
