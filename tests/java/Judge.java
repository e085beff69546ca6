// SPDX-License-Identifier: Apache-2.0
import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import org.ow2.proactive.scheduler.common.job.JobVariable;
import org.ow2.proactive.scheduler.common.job.TaskFlowJob;
import org.ow2.proactive.scheduler.common.job.factories.FlowChecker;
import org.ow2.proactive.scheduler.common.job.factories.FlowError;
import org.ow2.proactive.scheduler.common.job.factories.JobFactory;
import org.ow2.proactive.scheduler.common.task.Task;
import org.ow2.proactive.scheduler.common.task.TaskVariable;
import org.ow2.proactive.scheduler.core.properties.PASchedulerProperties;

/** What the scheduler's own parser, schema, variable models and flow checker say of a job descriptor. */
final class Judge {
    private final JobFactory factory;

    Judge() {
        // without it the model of catalog objects has no address to look at
        PASchedulerProperties.CATALOG_REST_URL.updateProperty("http://localhost:1/catalog");
        factory = JobFactory.getFactory(false);  // without the global variables of a server's folder
    }

    /** Refused: class and message; accepted: what the parser made of it. */
    Map<String, Object> judge(String source, Map<String, String> variables) {
        Map<String, Object> answer = new LinkedHashMap<>();
        try {
            byte[] bytes = source.getBytes(StandardCharsets.UTF_8);
            TaskFlowJob job = (TaskFlowJob) factory.createJob(new ByteArrayInputStream(bytes), variables, null);
            FlowError fault = FlowChecker.validate(job);
            if (fault != null) {  // as the scheduler's core says it when it takes a job in
                answer.put("exception", "JobCreationException");
                String text = "Invalid taskflow: " + fault.getMessage() + "; context: " + fault.getTask();
                answer.put("message", text);
                return answer;
            }
            describe(job, answer);
        } catch (Exception refused) {
            answer.put("exception", refused.getClass().getSimpleName());
            answer.put("message", String.valueOf(refused.getMessage()));
        }
        return answer;
    }

    private static void describe(TaskFlowJob job, Map<String, Object> answer) {
        answer.put("name", job.getName());
        answer.put("project", job.getProjectName());
        answer.put("priority", job.getPriority().name().toLowerCase());
        Map<String, String> values = new TreeMap<>();
        for (JobVariable each : job.getVariables().values()) {
            values.put(each.getName(), each.getValue());
        }
        answer.put("variables", values);
        answer.put("generic", new TreeMap<>(job.getGenericInformation()));
        Map<String, Object> tasks = new TreeMap<>();
        for (Task task : job.getTasks()) {
            tasks.put(task.getName(), describe(task));
        }
        answer.put("tasks", tasks);
    }

    private static Map<String, Object> describe(Task task) {
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("on_error", task.getOnTaskErrorProperty().getValue().toString());
        answer.put("walltime_ms", task.getWallTime());
        answer.put("executions", task.getMaxNumberOfExecution());
        answer.put("precious", task.isPreciousResult());
        answer.put("fork", task.isFork());
        answer.put("generic", new TreeMap<>(task.getGenericInformation()));
        Map<String, String> values = new TreeMap<>();
        for (TaskVariable each : task.getVariables().values()) {
            values.put(each.getName(), each.getValue());
        }
        answer.put("variables", values);
        java.util.List<String> parents = new java.util.ArrayList<>();
        if (task.getDependencesList() != null) {
            for (Task parent : task.getDependencesList()) {
                parents.add(parent.getName());
            }
        }
        answer.put("depends", parents);
        answer.put("flow", task.getFlowScript() == null ? null : task.getFlowScript().getActionType());
        answer.put("block", task.getFlowBlock() == null ? null : task.getFlowBlock().toString());
        return answer;
    }
}
