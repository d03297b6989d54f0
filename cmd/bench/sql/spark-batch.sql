BATCH messages FROM kafka.bootstrap.servers=$BROKERS subscribe=$TOPIC startingOffsets=earliest endingOffsets=latest
;
CREATE OR REPLACE TEMPORARY VIEW ads USING csv OPTIONS (path '$ADS', header 'true')
;
CREATE OR REPLACE TEMPORARY VIEW ad_events AS
SELECT e.*, partition AS _partition, offset AS _offset, timestamp AS _timestamp FROM (
  SELECT partition, offset, timestamp, from_json(CAST(value AS STRING),
    'user_id STRING, page_id STRING, ad_id STRING, ad_type STRING, event_type STRING, event_time STRING, ip_address STRING', map('mode', 'FAILFAST')) AS e FROM messages)
;
INSERT OVERWRITE DIRECTORY '$OUT/data' USING parquet OPTIONS (compression 'zstd')
SELECT user_id, page_id, ad_id, ad_type, event_type, CAST(event_time AS BIGINT) AS event_time, ip_address, _partition, _offset, _timestamp FROM ad_events
;
CREATE OR REPLACE TEMPORARY VIEW records USING parquet OPTIONS (path '$OUT/data')
;
INSERT OVERWRITE DIRECTORY '$OUT/partial' USING parquet OPTIONS (compression 'zstd')
SELECT campaign_id AS campaign, event_time DIV 10000 * 10000 AS bucket, count(*) AS seen
FROM records JOIN ads USING (ad_id)
WHERE event_type = 'view'
GROUP BY campaign_id, event_time DIV 10000 * 10000
;
