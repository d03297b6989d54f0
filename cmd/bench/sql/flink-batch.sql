SET execution.runtime-mode=batch
SET parallelism.default=2
SET rest.bind-address=127.0.0.1
CREATE TABLE ad_events (
  user_id STRING, page_id STRING, ad_id STRING, ad_type STRING, event_type STRING, event_time BIGINT, ip_address STRING,
  _partition INT METADATA FROM 'partition' VIRTUAL, _offset BIGINT METADATA FROM 'offset' VIRTUAL, _timestamp TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL) WITH (
  'connector' = 'kafka', 'topic' = '$TOPIC', 'properties.bootstrap.servers' = '$BROKERS', 'format' = 'json',
  'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset')
;
CREATE TABLE records (
  user_id STRING, page_id STRING, ad_id STRING, ad_type STRING, event_type STRING, event_time BIGINT, ip_address STRING,
  _partition INT, _offset BIGINT, _timestamp TIMESTAMP_LTZ(3)) WITH (
  'connector' = 'filesystem', 'path' = '$OUT/data', 'format' = 'parquet', 'parquet.compression' = 'ZSTD')
;
CREATE TABLE campaigns (campaign STRING, bucket BIGINT, seen BIGINT) WITH (
  'connector' = 'filesystem', 'path' = '$OUT/partial', 'format' = 'parquet', 'parquet.compression' = 'ZSTD')
;
EXECUTE STATEMENT SET BEGIN
INSERT INTO records SELECT * FROM ad_events;
INSERT INTO campaigns
SELECT lookup('$ADS', ad_id) AS campaign, event_time / 10000 * 10000 AS bucket, count(*) AS seen
FROM ad_events
WHERE event_type = 'view'
GROUP BY lookup('$ADS', ad_id), event_time / 10000 * 10000
HAVING lookup('$ADS', ad_id) IS NOT NULL;
END
;
