import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.functions.ScalarFunction;

/**
 * Runs scripts of Flink SQL in this process, one after the other: each line of standard input is the path of one, and is
 * answered by "done" when its last job has ended, or by "failed" and the reason. Statements end with a line ";". Lines
 * "SET key=value" are the configuration.
 */
public final class FlinkSQL {
  public static void main(String[] args) throws Exception {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    System.out.println("ready");
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      try {
        run(Files.readString(Path.of(line)));
        System.out.println("done");
      } catch (Throwable e) {
        e.printStackTrace();
        System.out.println("failed " + String.valueOf(e).replace('\n', ' '));
      }
    }
    System.exit(0);
  }

  private static void run(String script) throws Exception {
    Configuration config = new Configuration();
    StringBuilder rest = new StringBuilder();
    for (String line : script.split("\n")) {
      if (line.startsWith("SET ")) {
        String[] pair = line.substring("SET ".length()).split("=", 2);
        config.setString(pair[0], pair[1]);
      } else {
        rest.append(line).append('\n');
      }
    }
    TableEnvironment env = TableEnvironment.create(EnvironmentSettings.newInstance().withConfiguration(config).build());
    env.createTemporarySystemFunction("lookup", Lookup.class);
    for (String statement : rest.toString().split("\n;\n")) {
      if (!statement.isBlank()) {
        env.executeSql(statement).await();
      }
    }
  }

  /**
   * lookup(file, key) is the second column of the CSV file's line whose first is the key. It stands for a join with a table
   * that does not change, of which a stream would keep all its records as state.
   */
  public static final class Lookup extends ScalarFunction {
    private transient Map<String, String> rows;

    public String eval(String file, String key) throws IOException {
      if (rows == null) {
        rows = new HashMap<>();
        for (String line : Files.readAllLines(Path.of(file))) {
          int comma = line.indexOf(',');
          rows.put(line.substring(0, comma), line.substring(comma + 1));
        }
      }
      return rows.get(key);
    }
  }
}
