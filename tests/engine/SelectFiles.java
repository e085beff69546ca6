import java.nio.file.Paths;
import org.objectweb.proactive.extensions.dataspaces.vfs.selector.FileSelector;

/** What the scheduler's own selector says of paths: for each pattern (in front of `--`) a line, for each path M and T. */
public class SelectFiles {
    public static void main(String[] words) throws Exception {
        org.apache.log4j.BasicConfigurator.configure(new org.apache.log4j.varia.NullAppender());
        int end = java.util.Arrays.asList(words).indexOf("--");
        for (int i = 0; i < end; i++) {
            StringBuilder line = new StringBuilder();
            for (int j = end + 1; j < words.length; j++) {
                FileSelector selector = new FileSelector(words[i]);
                try {
                    line.append(selector.matches(Paths.get(words[j])) ? "M" : "-");
                } catch (java.util.regex.PatternSyntaxException refused) {
                    line.append("X");
                }
                line.append(selector.traverseDescendents(Paths.get(words[j])) ? "T" : "-");
            }
            System.out.println(line);
        }
    }
}
