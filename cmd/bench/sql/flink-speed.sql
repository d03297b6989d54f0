SET execution.runtime-mode=streaming
SET parallelism.default=2
SET rest.bind-address=127.0.0.1
SET execution.checkpointing.interval=1 s
SET table.exec.mini-batch.enabled=true
SET table.exec.mini-batch.allow-latency=1 s
SET table.exec.mini-batch.size=100000
SET table.optimizer.agg-phase-strategy=TWO_PHASE
CREATE TABLE ad_events (ad_id STRING, event_type STRING, event_time BIGINT) WITH (
  'connector' = 'kafka', 'topic' = '$TOPIC', 'properties.bootstrap.servers' = '$BROKERS', 'format' = 'json',
  'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset')
;
CREATE TABLE campaigns (campaign STRING, bucket BIGINT, seen BIGINT, PRIMARY KEY (campaign, bucket) NOT ENFORCED) WITH (
  'connector' = 'upsert-kafka', 'topic' = '$SINK', 'properties.bootstrap.servers' = '$BROKERS', 'key.format' = 'json', 'value.format' = 'json')
;
INSERT INTO campaigns
SELECT lookup('$ADS', ad_id) AS campaign, event_time / 10000 * 10000 AS bucket, count(*) AS seen
FROM ad_events
WHERE event_type = 'view'
GROUP BY lookup('$ADS', ad_id), event_time / 10000 * 10000
HAVING lookup('$ADS', ad_id) IS NOT NULL
;
