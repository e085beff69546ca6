// SPDX-License-Identifier: Apache-2.0
import java.io.BufferedReader;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.codehaus.jackson.map.ObjectMapper;
import org.ow2.proactive.authentication.ConnectionInfo;
import org.ow2.proactive.scheduler.common.job.JobId;
import org.ow2.proactive.scheduler.common.job.JobInfo;
import org.ow2.proactive.scheduler.common.job.JobResult;
import org.ow2.proactive.scheduler.common.job.JobState;
import org.ow2.proactive.scheduler.common.task.TaskResult;
import org.ow2.proactive.scheduler.common.task.TaskState;
import org.ow2.proactive.scheduler.rest.ISchedulerClient;
import org.ow2.proactive.scheduler.rest.SchedulerClient;

/** The scheduler's own Java client, driven line by line: {"verb": ..., ...} in, one JSON object out. */
public final class Client {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final ISchedulerClient client = SchedulerClient.createInstance();

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = new PrintStream(new FileOutputStream(FileDescriptor.out), true, "UTF-8");
        System.setOut(System.err);
        Client self = new Client();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Map<String, Object> answer = new LinkedHashMap<>();
            try {
                answer.put("answer", self.answer(JSON.readValue(line, Map.class)));
            } catch (Throwable error) {
                error.printStackTrace();
                answer.put("error", error.getClass().getSimpleName());
                answer.put("message", String.valueOf(error.getMessage()));
            }
            answers.println(JSON.writeValueAsString(answer));
        }
        Runtime.getRuntime().halt(0);
    }

    @SuppressWarnings("unchecked")
    private Object answer(Map<String, Object> asked) throws Throwable {
        String job = (String) asked.get("job");
        String task = (String) asked.get("task");
        Map<String, String> variables = (Map<String, String>) asked.get("variables");
        switch ((String) asked.get("verb")) {
            case "init":
                String url = asked.get("url") + "/rest";
                String user = (String) asked.get("user");
                client.init(new ConnectionInfo(url, user, (String) asked.get("password"), null, false));
                return client.isConnected();
            case "connected":
                return client.isConnected();
            case "disconnect":
                client.disconnect();
                return client.isConnected();
            case "submit":
                return client.submit(new File((String) asked.get("file")), variables).value();
            case "submit_from_catalog":
                String catalog = asked.get("url") + "/catalog";
                String bucket = (String) asked.get("bucket");
                return client.submitFromCatalog(catalog, bucket, (String) asked.get("name"), variables).value();
            case "state":
                return state(client.getJobState(job));
            case "info":
                return info(client.getJobInfo(job));
            case "finished":
                return client.isJobFinished(job);
            case "wait":
                return result(client.waitForJob(job, ((Number) asked.get("ms")).longValue()));
            case "result":
                return result(client.getJobResult(job));
            case "task":
                return value(client.getTaskResult(job, task));
            case "wait_task":
                return value(client.waitForTask(job, task, ((Number) asked.get("ms")).longValue()));
            case "kill":
                return client.killJob(job);
            case "pause":
                return client.pauseJob(job);
            case "resume":
                return client.resumeJob(job);
            case "remove":
                return client.removeJob(job);
            case "kill_task":
                return client.killTask(job, task);
            case "content":
                JobId id = client.getJobState(job).getId();
                return client.getJobContent(id);
            case "credentials":
                return new TreeSet<>(client.thirdPartyCredentialsKeySet());
            case "put_credential":
                client.putThirdPartyCredential((String) asked.get("key"), (String) asked.get("value"));
                return true;
            case "remove_credential":
                client.removeThirdPartyCredential((String) asked.get("key"));
                return true;
            case "push":
                return client.pushFile("user", "/in", "a.txt", (String) asked.get("file"));
            case "pull":
                client.pullFile("user", "/in/a.txt", (String) asked.get("file"));
                return true;
            case "delete_file":
                return client.deleteFile("user", "/in/a.txt");
            case "user":
                return client.getCurrentUser();
            default:
                throw new IllegalArgumentException("no such verb: " + asked.get("verb"));
        }
    }

    private static Map<String, Object> state(JobState state) {
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("name", state.getName());
        answer.put("owner", state.getOwner());
        answer.put("status", state.getStatus().name());
        Map<String, String> tasks = new TreeMap<>();
        for (TaskState each : state.getTasks()) {
            tasks.put(each.getName(), each.getStatus().name());
        }
        answer.put("tasks", tasks);
        return answer;
    }

    private static Map<String, Object> info(JobInfo info) {
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("status", info.getStatus().name());
        answer.put("total", info.getTotalNumberOfTasks());
        answer.put("finished", info.getNumberOfFinishedTasks());
        answer.put("faulty", info.getNumberOfFaultyTasks());
        return answer;
    }

    private static Map<String, Object> result(JobResult result) {
        if (result == null) {
            return null;
        }
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("name", result.getName());
        Map<String, Object> values = new TreeMap<>();
        for (Map.Entry<String, TaskResult> each : result.getAllResults().entrySet()) {
            values.put(each.getKey(), value(each.getValue()));
        }
        answer.put("values", values);
        answer.put("failed", new TreeSet<>(result.getExceptionResults().keySet()));
        answer.put("map", Gateway.encode(result.getResultMap()));
        return answer;
    }

    /** A task's result: what kind of Java object it is, and what it holds; of a failed one, its exception. */
    private static List<Object> value(TaskResult result) {
        List<Object> answer = new ArrayList<>();
        if (result == null) {
            return null;
        }
        try {
            Object value = result.value();
            answer.add(value == null ? "null" : value.getClass().getSimpleName());
            answer.add(Gateway.encode(value));
        } catch (Throwable error) {
            answer.add("failed");
            answer.add(String.valueOf(error.getMessage()));
        }
        return answer;
    }
}
