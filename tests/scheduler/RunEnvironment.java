import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import javax.script.ScriptEngine;
import javax.script.ScriptEngineManager;
import org.ow2.proactive.scheduler.common.task.ForkEnvironment;

/**
 * Runs an environment script as a node does: in Groovy's engine, with a node's bindings, several times at once if asked.
 * Arguments: script, local folder, then nodes that run it at once, each begun by `--`: variables as NAME=VALUE and generic
 * information as info.NAME=VALUE. Prints OK with what the script set, or FAILED with its message, a line a node.
 */
public class RunEnvironment {
    public static void main(String[] words) throws Exception {
        String text = new String(Files.readAllBytes(Paths.get(words[0])), StandardCharsets.UTF_8);
        List<Map<String, String>> nodes = new ArrayList<>();
        for (int i = 2; i < words.length; i++) {
            String[] pair = words[i].split("=", 2);
            if (pair[0].equals("--")) {
                nodes.add(new HashMap<>());
            } else {
                nodes.get(nodes.size() - 1).put(pair[0], pair[1]);
            }
        }
        ExecutorService pool = Executors.newFixedThreadPool(nodes.size());
        List<Future<String>> answers = new ArrayList<>();
        for (Map<String, String> node : nodes) {
            answers.add(pool.submit((Callable<String>) () -> once(text, words[1], node)));
        }
        for (Future<String> answer : answers) {
            System.out.println(answer.get());
        }
        pool.shutdown();
    }

    private static String once(String text, String localspace, Map<String, String> words) {
        Map<String, String> variables = new HashMap<>(), information = new HashMap<>();
        words.forEach((name, value) -> (name.startsWith("info.") ? information : variables).put(name.replace("info.", ""), value));
        ScriptEngine engine = new ScriptEngineManager().getEngineByName("groovy");
        ForkEnvironment environment = new ForkEnvironment();
        engine.put("variables", variables);
        engine.put("genericInformation", information);
        engine.put("localspace", localspace);
        engine.put("forkEnvironment", environment);
        try {
            engine.eval(text);
        } catch (Throwable thrown) {
            Throwable cause = thrown;
            while (cause.getCause() != null) {
                cause = cause.getCause();
            }
            return "FAILED " + cause.getMessage();
        }
        ForkEnvironment kept = new ForkEnvironment(environment); // as the node copies it
        return "OK " + kept.getSystemEnvironment() + " " + kept.getPreJavaCommand() + " " + kept.getJavaHome();
    }
}
