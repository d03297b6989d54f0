import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.streaming.Trigger;

/**
 * Runs scripts of Spark SQL in this process, one after the other: each line of standard input is the path of one, and is
 * answered by "done" when its last query has ended, or by "failed" and the reason. Statements end with a line ";". Three are
 * not Spark's: "BATCH view FROM key=value ..." and "STREAM view FROM key=value ..." make a view of a Kafka topic, and
 * "STREAM TO key=value ... AS select" sends a query over what a stream's topic holds now to another topic, in update mode.
 */
public final class SparkSQL {
  public static void main(String[] args) throws Exception {
    SparkSession spark = SparkSession.builder().getOrCreate();
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    System.out.println("ready");
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      try {
        for (String statement : Files.readString(Path.of(line)).split("\n;\n")) {
          run(spark, statement.strip());
        }
        System.out.println("done");
      } catch (Throwable e) {
        e.printStackTrace();
        System.out.println("failed " + String.valueOf(e).replace('\n', ' '));
      }
    }
    System.exit(0);
  }

  private static void run(SparkSession spark, String statement) throws Exception {
    String[] words = statement.split("\\s+", 3);
    if (statement.startsWith("STREAM TO ")) {
      String[] parts = statement.split("\\sAS\\s", 2);
      spark.sql(parts[1]).writeStream().format("kafka").options(options(parts[0]))
          .outputMode("update").trigger(Trigger.AvailableNow()).start().awaitTermination();
    } else if (words[0].equals("STREAM")) {
      spark.readStream().format("kafka").options(options(words[2])).load().createOrReplaceTempView(words[1]);
    } else if (words[0].equals("BATCH")) {
      spark.read().format("kafka").options(options(words[2])).load().createOrReplaceTempView(words[1]);
    } else if (!statement.isEmpty()) {
      spark.sql(statement).collect();
    }
  }

  private static Map<String, String> options(String text) {
    Map<String, String> out = new HashMap<>();
    for (String word : text.split("\\s+")) {
      int equals = word.indexOf('=');
      if (equals > 0) {
        out.put(word.substring(0, equals), word.substring(equals + 1));
      }
    }
    return out;
  }
}
