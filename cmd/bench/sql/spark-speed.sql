STREAM messages FROM kafka.bootstrap.servers=$BROKERS subscribe=$TOPIC startingOffsets=earliest
;
CREATE OR REPLACE TEMPORARY VIEW ads USING csv OPTIONS (path '$ADS', header 'true')
;
CREATE OR REPLACE TEMPORARY VIEW ad_events AS
SELECT e.* FROM (SELECT from_json(CAST(value AS STRING), 'ad_id STRING, event_type STRING, event_time STRING', map('mode', 'FAILFAST')) AS e FROM messages)
;
STREAM TO kafka.bootstrap.servers=$BROKERS topic=$SINK checkpointLocation=$OUT/checkpoint AS
SELECT to_json(struct(campaign, bucket, seen)) AS value FROM (
  SELECT campaign_id AS campaign, CAST(event_time AS BIGINT) DIV 10000 * 10000 AS bucket, count(*) AS seen
  FROM ad_events JOIN ads USING (ad_id)
  WHERE event_type = 'view'
  GROUP BY campaign_id, CAST(event_time AS BIGINT) DIV 10000 * 10000)
;
