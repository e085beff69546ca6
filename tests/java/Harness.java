// SPDX-License-Identifier: Apache-2.0
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.codehaus.jackson.map.ObjectMapper;

/** Answers one JSON object a line for each that comes in: {"verb": ..., ...}. Ends with its input. */
public final class Harness {
    private static final ObjectMapper JSON = new ObjectMapper();

    private Judge judge;
    private Gateway gateway;

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = new PrintStream(new FileOutputStream(FileDescriptor.out), true, "UTF-8");
        System.setOut(System.err);  // whatever a library prints is no answer
        Harness harness = new Harness();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            answers.println(JSON.writeValueAsString(harness.answer(JSON.readValue(line, Map.class))));
        }
        Runtime.getRuntime().halt(0);
    }

    @SuppressWarnings("unchecked")
    private Map<String, Object> answer(Map<String, Object> asked) {
        try {
            switch ((String) asked.get("verb")) {
                case "judge":
                    judge = judge == null ? new Judge() : judge;
                    return judge.judge((String) asked.get("source"), (Map<String, String>) asked.get("variables"));
                case "routes":
                    return Routes.list();
                case "written":
                    return Collections.singletonMap("document", Written.anew((String) asked.get("source")));
                case "bind":
                    gateway = gateway == null ? new Gateway() : gateway;
                    return gateway.bind((Map<String, Object>) asked.get("state"));
                case "left":
                    return gateway.left();
                default:
                    throw new IllegalArgumentException("no such verb: " + asked.get("verb"));
            }
        } catch (Throwable fault) {
            fault.printStackTrace();
            Map<String, Object> answer = new LinkedHashMap<>();
            answer.put("fault", fault.toString());
            return answer;
        }
    }
}
