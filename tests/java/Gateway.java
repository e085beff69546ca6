// SPDX-License-Identifier: Apache-2.0
import java.io.Serializable;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import javax.script.Bindings;
import javax.script.SimpleBindings;
import org.ow2.proactive.scheduler.common.task.TaskId;
import org.ow2.proactive.scheduler.common.task.TaskResult;
import py4j.GatewayServer;

/**
 * A script's bindings, in Java, behind py4j: what a cpython task of the scheduler works with.
 *
 * <p>Values come and go as the embedded engine writes them between its processes: scalars as they are, everything else
 * as a list that begins with its kind.
 */
public final class Gateway {
    private static final List<String> MAPS =
            Arrays.asList("variables", "resultMap", "resultMetadata", "genericInformation", "credentials");
    private static final List<String> HANDED_OVER = Arrays.asList("result", "selected", "branch", "runs", "loop");

    private final String token = UUID.randomUUID().toString();
    private final GatewayServer server;
    private Bindings bindings = new SimpleBindings();
    private Map<String, Object> maps = new HashMap<>();

    Gateway() {
        server = new GatewayServer.GatewayServerBuilder(this).javaPort(0).authToken(token).build();
        server.start();
    }

    /** What a script asks its gateway for first. */
    public Bindings getBindings() {
        return bindings;
    }

    Map<String, Object> bind(Map<String, Object> state) throws Exception {
        bindings = new SimpleBindings();
        maps = new HashMap<>();
        for (String name : MAPS) {
            maps.put(name, decode(state.get(name)));
        }
        bindings.putAll(maps);
        List<?> results = (List<?>) state.get("results");
        TaskResult[] parents = new TaskResult[results.size()];
        for (int index = 0; index < parents.length; index++) {
            parents[index] = parent((Map<?, ?>) results.get(index));
        }
        bindings.put("results", parents);
        for (Map.Entry<?, ?> space : ((Map<?, ?>) state.get("spaces")).entrySet()) {
            bindings.put((String) space.getKey(), space.getValue());
        }
        bindings.put("progress", new Progress());
        bindings.put("nodesurl", new ArrayList<>(Arrays.asList("pnp://node")));
        if (state.containsKey("schedulerapi")) {
            bindings.put("schedulerapi", new Api((String) state.get("schedulerapi")));
        }
        if (state.containsKey("result")) {
            bindings.put("result", decode(state.get("result")));
        }
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("port", server.getListeningPort());
        answer.put("token", token);
        return answer;
    }

    /** What the script left: the maps that were bound at first, whatever a script put in their place. */
    Map<String, Object> left() {
        Map<String, Object> handed = new LinkedHashMap<>();
        for (String name : HANDED_OVER) {
            if (bindings.containsKey(name)) {
                handed.put(name, encode(bindings.get(name)));
            }
        }
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("names", handed);
        for (String name : MAPS) {
            answer.put(name, encode(maps.get(name)));
        }
        return answer;
    }

    /** The scheduler's interface of a result, answered out of a record. */
    private static TaskResult parent(Map<?, ?> values) {
        String failure = (String) values.get("error");
        Object value = decode(values.get("value"));
        TaskId id = proxy(TaskId.class, (self, method, arguments) -> {
            switch (method.getName()) {
                case "getReadableName":
                    return values.get("name");
                case "value":
                case "toString":
                    return values.get("id");
                default:
                    throw new UnsupportedOperationException(method.getName());
            }
        });
        return proxy(TaskResult.class, (self, method, arguments) -> {
            switch (method.getName()) {
                case "hadException":
                    return failure != null;
                case "getException":
                    return failure == null ? null : new Exception(failure);
                case "value":
                case "getValue":
                    if (failure != null) {
                        throw new Exception(failure);
                    }
                    return value;
                case "getMetadata":
                    return decode(values.get("metadata"));
                case "getTaskId":
                    return id;
                case "isRaw":
                    return value instanceof byte[];
                case "toString":
                    return "TaskResult(" + values.get("name") + ")";
                default:
                    throw new UnsupportedOperationException(method.getName());
            }
        });
    }

    private static <T> T proxy(Class<T> type, InvocationHandler handler) {
        return type.cast(Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, handler));
    }

    static Object decode(Object value) {
        if (!(value instanceof List)) {
            return value;
        }
        List<?> items = ((List<?>) value).subList(1, ((List<?>) value).size());
        switch ((String) ((List<?>) value).get(0)) {
            case "b":
                return Base64.getDecoder().decode((String) items.get(0));
            case "m":
                Map<Object, Object> map = new HashMap<>();
                for (Object item : items) {
                    map.put(decode(((List<?>) item).get(0)), decode(((List<?>) item).get(1)));
                }
                return map;
            case "x":
                return new Exception((String) items.get(0));
            case "s":
                Set<Object> set = new HashSet<>();
                items.forEach(item -> set.add(decode(item)));
                return set;
            default:
                List<Object> list = new ArrayList<>();
                items.forEach(item -> list.add(decode(item)));
                return list;
        }
    }

    static Object encode(Object value) {
        List<Object> items = new ArrayList<>();
        if (value instanceof byte[]) {
            return Arrays.asList("b", Base64.getEncoder().encodeToString((byte[]) value));
        } else if (value instanceof Map) {
            items.add("m");
            ((Map<?, ?>) value).forEach((key, item) -> items.add(Arrays.asList(encode(key), encode(item))));
        } else if (value instanceof Set) {
            items.add("s");
            ((Set<?>) value).forEach(item -> items.add(encode(item)));
        } else if (value instanceof List) {
            items.add("l");
            ((List<?>) value).forEach(item -> items.add(encode(item)));
        } else if (value == null || value instanceof Boolean || value instanceof Number || value instanceof String) {
            return value;
        } else {
            return "an object of " + value.getClass().getName();
        }
        return items;
    }

    /** The scheduler's progress of a task. */
    public static final class Progress {
        private int percent;

        public void set(int value) {
            percent = value;
        }

        public int get() {
            return percent;
        }
    }

    /** As much of the scheduler's API as a task of this package asks for. */
    public static final class Api {
        private final String session;
        private boolean connected;

        Api(String session) {
            this.session = session;
        }

        public void connect() {
            connected = true;
        }

        public boolean isConnected() {
            return connected;
        }

        public Serializable getSession() {
            return connected ? session : null;
        }
    }
}
