-- The starts of the windows [start, start + size) that hold ts and begin at every hop.
CREATE MACRO hopping(ts, size, hop) AS
  list_reverse(list_filter(generate_series(time_bucket(hop, ts), time_bucket(hop, ts) - size, -hop), lambda s: s + size > ts));

-- The ends of the windows [start, end) that hold ts: they begin at every size and grow by step, up to size.
CREATE MACRO cumulating(ts, size, step) AS
  CASE WHEN ts IS NOT NULL THEN list_append(
    list_filter(range(time_bucket(size, ts) + step, time_bucket(size, ts) + size, step), lambda e: e > ts),
    time_bucket(size, ts) + size) END;
