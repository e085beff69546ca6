// SPDX-License-Identifier: Apache-2.0
import java.lang.annotation.Annotation;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import javax.ws.rs.Consumes;
import javax.ws.rs.FormParam;
import javax.ws.rs.HeaderParam;
import javax.ws.rs.HttpMethod;
import javax.ws.rs.MatrixParam;
import javax.ws.rs.Path;
import javax.ws.rs.PathParam;
import javax.ws.rs.Produces;
import javax.ws.rs.QueryParam;
import javax.ws.rs.core.PathSegment;
import javax.ws.rs.core.UriInfo;
import org.jboss.resteasy.annotations.providers.multipart.MultipartForm;
import org.jboss.resteasy.plugins.providers.multipart.MultipartInput;

/** The routes of the scheduler's REST, as the annotations of its interfaces declare them. */
final class Routes {
    private static final String[] INTERFACES = {
        "org.ow2.proactive_grid_cloud_portal.common.SchedulerRestInterface",
        "org.ow2.proactive_grid_cloud_portal.common.RMRestInterface",
        "org.ow2.proactive_grid_cloud_portal.common.CommonRestInterface",
        "org.ow2.proactive_grid_cloud_portal.dataspace.RestDataspace",
    };

    private Routes() {}

    static Map<String, Object> list() throws Exception {
        List<Object> routes = new ArrayList<>();
        for (String name : INTERFACES) {
            Class<?> type = Class.forName(name);
            for (Method method : type.getMethods()) {
                for (Annotation annotation : method.getAnnotations()) {
                    HttpMethod verb = annotation.annotationType().getAnnotation(HttpMethod.class);
                    if (verb != null) {
                        routes.add(route(type, method, verb.value()));
                    }
                }
            }
        }
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("routes", routes);
        return answer;
    }

    private static Map<String, Object> route(Class<?> type, Method method, String verb) {
        Map<String, Object> route = new LinkedHashMap<>();
        Path above = type.getAnnotation(Path.class);
        Path path = method.getAnnotation(Path.class);
        route.put("interface", type.getSimpleName());
        route.put("method", method.getName());
        route.put("verb", verb);
        route.put("path", (above == null ? "" : above.value()) + "/" + (path == null ? "" : path.value()));
        Consumes consumes = first(method.getAnnotation(Consumes.class), type.getAnnotation(Consumes.class));
        Produces produces = first(method.getAnnotation(Produces.class), type.getAnnotation(Produces.class));
        route.put("consumes", consumes == null ? new String[0] : consumes.value());
        route.put("produces", produces == null ? new String[0] : produces.value());
        Map<String, List<String>> parameters = new LinkedHashMap<>();
        for (String kind : Arrays.asList("path", "query", "form", "header", "matrix")) {
            parameters.put(kind, new ArrayList<>());
        }
        boolean multipart = false;
        boolean body = false;
        boolean anyMatrix = false;
        boolean anyQuery = false;
        Annotation[][] annotations = method.getParameterAnnotations();
        for (int index = 0; index < annotations.length; index++) {
            Class<?> parameter = method.getParameterTypes()[index];
            multipart |= MultipartInput.class.isAssignableFrom(parameter);
            anyMatrix |= PathSegment.class.isAssignableFrom(parameter);
            anyQuery |= UriInfo.class.isAssignableFrom(parameter);
            body |= annotations[index].length == 0;
            for (Annotation each : annotations[index]) {
                multipart |= each instanceof MultipartForm;
                add(parameters, each);
            }
        }
        route.put("parameters", parameters);
        route.put("multipart", multipart);
        route.put("body", body);
        route.put("any_matrix", anyMatrix);
        route.put("any_query", anyQuery);
        return route;
    }

    private static void add(Map<String, List<String>> parameters, Annotation annotation) {
        if (annotation instanceof PathParam) {
            parameters.get("path").add(((PathParam) annotation).value());
        } else if (annotation instanceof QueryParam) {
            parameters.get("query").add(((QueryParam) annotation).value());
        } else if (annotation instanceof FormParam) {
            parameters.get("form").add(((FormParam) annotation).value());
        } else if (annotation instanceof HeaderParam) {
            parameters.get("header").add(((HeaderParam) annotation).value());
        } else if (annotation instanceof MatrixParam) {
            parameters.get("matrix").add(((MatrixParam) annotation).value());
        }
    }

    private static <T> T first(T one, T other) {
        return one == null ? other : one;
    }
}
