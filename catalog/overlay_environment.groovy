// Gives a task of the network overlay a Python that has its package, as the variable NODE_ENVIRONMENT says:
//   installed  (default) the interpreter PYTHON_COMMAND of the node has it: scripts/install_node put it there
//   wheel      it comes with the task from the global space, network-overlay/*.whl; the first task of a node makes a
//              virtual environment of it, the others take the same
//   container  the task runs in a container of the image CONTAINER_IMAGE
// Runs in the node's Java before the task's is started. A node that cannot do it fails the task with one line.
import groovy.transform.CompileStatic
import java.nio.channels.FileChannel
import java.nio.channels.FileLock
import java.nio.channels.OverlappingFileLockException
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.Paths
import java.nio.file.StandardCopyOption
import java.nio.file.StandardOpenOption
import java.security.MessageDigest
import java.util.concurrent.TimeUnit
import org.ow2.proactive.scheduler.common.task.ForkEnvironment

@CompileStatic
class OverlayEnvironment {
    static final String CHECK = 'import py4j.java_gateway, proactive_tasks, sys; print(sys.executable)'
    static final String WAYS = 'Do one of these: (1) NODE_ENVIRONMENT=installed: run scripts/install_node on this node ' +
        'and set PYTHON_COMMAND to what it prints; (2) NODE_ENVIRONMENT=wheel: put the package\'s wheel into the global ' +
        'space as network-overlay/*.whl; (3) NODE_ENVIRONMENT=container: set CONTAINER_IMAGE to an image with the ' +
        'package, on nodes with docker or podman'
    static final int CHECK_S = 60
    static final int MAKE_S = 270 // less than the shortest walltime of the workflows: the error is told, not the walltime

    final Map variables
    final Map information
    final ForkEnvironment environment
    final Path local
    String note = ''

    OverlayEnvironment(Map variables, Map information, ForkEnvironment environment, String local) {
        this.variables = variables
        this.information = information
        this.environment = environment
        this.local = Paths.get(local)
    }

    void prepare() {
        String way = text(variables, 'NODE_ENVIRONMENT', 'installed')
        if (way == 'installed') {
            installed()
        } else if (way == 'wheel') {
            wheel()
        } else if (way == 'container') {
            container()
        } else {
            throw fault("NODE_ENVIRONMENT is '${way}'")
        }
    }

    void installed() {
        String python = python()
        String reason = lacks(python)
        if (reason) {
            throw fault("the interpreter ${python} does not have the package: ${reason}")
        }
    }

    void wheel() {
        String python = python()
        if (python.contains('/')) {
            throw fault("PYTHON_COMMAND is ${python}, but with a wheel it has to be a name, such as python3")
        }
        Path folder = local.resolve('network-overlay')
        List<Path> wheels = Files.isDirectory(folder) ? Files.list(folder).toArray().collect { (Path) it } : []
        wheels = wheels.findAll { Path each -> name(each).endsWith('.whl') }.sort { Path each -> name(each) }
        Path ours = wheels.findAll { Path each -> name(each).startsWith('proactive_network_overlay-') }
            .max { Path a, Path b -> newer(name(a), name(b)) }
        if (ours == null) {
            throw fault('no proactive_network_overlay-*.whl came with the task from network-overlay in the global space')
        }
        Path cache = cache()
        Path ready = cache.resolve(key(python, wheels))
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(MAKE_S)
        FileChannel channel = FileChannel.open(cache.resolve("${name(ready)}.lock".toString()),
            StandardOpenOption.CREATE, StandardOpenOption.WRITE)
        try {
            FileLock lock = lock(channel, deadline)
            try {
                String made = ready.resolve('bin').resolve(python).toString()
                if (!Files.exists(ready) || lacks(made)) {
                    make(python, ours, folder, cache, ready, deadline)
                    String reason = lacks(made)
                    if (reason) {
                        throw fault("the environment made of ${name(ours)} does not work: ${reason}")
                    }
                }
            } finally {
                lock.release()
            }
        } finally {
            channel.close()
        }
        String path = environment.getSystemEnvironmentVariable('PATH') ?: System.getenv('PATH')
        environment.addSystemEnvironmentVariable('PATH', "${ready.resolve('bin')}${File.pathSeparator}${path}".toString())
        environment.addSystemEnvironmentVariable('VIRTUAL_ENV', ready.toString())
    }

    // Beside, and in place by one rename: who finds the name finds all of it.
    void make(String python, Path ours, Path folder, Path cache, Path ready, long deadline) {
        note = "made a Python environment of ${name(ours)} in ${ready}"
        Path made = cache.resolve("${name(ready)}-${Long.toHexString(System.nanoTime())}".toString())
        Path link = cache.resolve("${name(made)}.link".toString())
        try {
            run('python -m venv', [python, '-m', 'venv', made.toString()], deadline)
            run('pip', [made.resolve('bin/python').toString(), '-m', 'pip', 'install', '--disable-pip-version-check',
                '--quiet', '--no-input', '--find-links', folder.toString(), "${ours}[postgresql]".toString(),
                'py4j>=0.10.9'], deadline)
            Files.createSymbolicLink(link, made.getFileName())
            Files.move(link, ready, StandardCopyOption.ATOMIC_MOVE)
        } catch (Exception failed) {
            made.toFile().deleteDir()
            throw failed
        }
    }

    void container() {
        String image = text(variables, 'CONTAINER_IMAGE', '')
        if (!(image ==~ /[A-Za-z0-9][A-Za-z0-9._\/:@-]*/)) {
            throw fault(image ? "CONTAINER_IMAGE '${image}' is not the name of an image" : 'CONTAINER_IMAGE is empty')
        }
        List<String> path = (System.getenv('PATH') ?: '').tokenize(File.pathSeparator)
        String engine = ['docker', 'podman'].find { String each ->
            path.any { String folder -> Files.isExecutable(Paths.get(folder, each)) }
        }
        if (engine == null) {
            throw fault('there is neither docker nor podman')
        }
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(MAKE_S)
        if (failure([engine, 'image', 'inspect', image], deadline) != null) {
            run("${engine} pull".toString(), [engine, 'pull', '--quiet', image], deadline)
        }
        String user = output(['id', '-u'], deadline)
        String group = output(['id', '-g'], deadline)
        List<String> command = [engine, 'run', '--rm', '--init', '--network', 'host']
        command.addAll(['--user', "${user}:${group}".toString()])
        if (engine == 'podman' && user != '0') {
            command << '--userns=keep-id'
        }
        command.addAll(['--env', 'HOME=/tmp', '--workdir', local.toString()])
        for (String folder : folders()) {
            command.addAll(['--volume', "${folder}:${folder}".toString()])
        }
        for (String each : environment.systemEnvironment.keySet()) {
            command.addAll(['--env', each]) // its value is taken from the process, no argument shows it
        }
        command << image
        environment.setJavaHome('/usr') // the image's own Java: the node's may stand on files that the image lacks
        environment.setPreJavaCommand(command)
    }

    // What the task's Java reads and writes: ProActive's classes, and the task's local folder.
    Set<String> folders() {
        Set<Path> found = new LinkedHashSet<Path>()
        found << local
        String home = text(variables, 'PA_SCHEDULER_HOME', System.getProperty('proactive.home') ?: '')
        if (home && Files.isDirectory(Paths.get(home))) {
            found << Paths.get(home)
        }
        for (String entry : (System.getProperty('java.class.path') ?: '').tokenize(File.pathSeparator)) {
            Path place = Paths.get(entry.endsWith('*') ? entry[0..-2] : entry).toAbsolutePath().normalize()
            Path folder = Files.isDirectory(place) ? place : place.parent
            if (Files.isDirectory(folder) && folder.nameCount > 1 && !found.any { Path each -> folder.startsWith(each) }) {
                found << folder
            }
        }
        found.collect { Path each -> each.toString() } as LinkedHashSet<String>
    }

    String python() {
        text(information, 'PYTHON_COMMAND', text(variables, 'PYTHON_COMMAND', 'python'))
    }

    // Why an interpreter does not do; null if it does.
    String lacks(String python) {
        failure([python, '-c', CHECK], System.nanoTime() + TimeUnit.SECONDS.toNanos(CHECK_S))
    }

    // A folder of this user's alone that outlives the task.
    Path cache() {
        String user = System.getProperty('user.name')
        List<String> places = [System.getenv('OVERLAY_NODE_CACHE'),
            "${System.getProperty('user.home')}/.cache/network-overlay".toString(),
            "${System.getProperty('java.io.tmpdir')}/network-overlay-${user}".toString()]
        for (String place : places) {
            if (place && place.startsWith('/')) {
                try {
                    Path folder = Paths.get(place)
                    Files.createDirectories(folder)
                    if (Files.isWritable(folder) && Files.getOwner(folder).name == user) {
                        return folder
                    }
                } catch (IOException ignored) {
                    continue // the next one
                }
            }
        }
        throw fault("no folder for the environment: ${places.findAll { String each -> each }.join(', ')} cannot be written" +
            ' by this user alone; name one in the node\'s environment as OVERLAY_NODE_CACHE')
    }

    // Other wheels or another Python make another environment.
    String key(String python, List<Path> wheels) {
        MessageDigest digest = MessageDigest.getInstance('SHA-256')
        String code = 'import sys; print(sys.version, sys.base_prefix)'
        digest.update(output([python, '-c', code], System.nanoTime() + TimeUnit.SECONDS.toNanos(CHECK_S)).getBytes('UTF-8'))
        for (Path each : wheels) {
            digest.update(name(each).getBytes('UTF-8'))
            digest.update(Files.readAllBytes(each))
        }
        digest.digest().encodeHex().toString().substring(0, 16)
    }

    FileLock lock(FileChannel channel, long deadline) {
        while (true) {
            try {
                FileLock held = channel.tryLock()
                if (held != null) {
                    return held
                }
            } catch (OverlappingFileLockException ignored) {
                // another task in this same Java has it
            }
            if (System.nanoTime() > deadline) {
                throw fault("another task has been making the environment for ${MAKE_S} s")
            }
            Thread.sleep(100)
        }
    }

    void run(String what, List<String> command, long deadline) {
        String reason = failure(command, deadline)
        if (reason != null) {
            throw fault("${what} failed: ${reason}")
        }
    }

    String output(List<String> command, long deadline) {
        StringBuilder text = new StringBuilder()
        String reason = failure(command, deadline, text)
        if (reason != null) {
            throw fault("${command[0]} failed: ${reason}")
        }
        text.toString().trim()
    }

    // Why a command failed: its last line, or that it took too long; null if it did not.
    String failure(List<String> command, long deadline, StringBuilder text = new StringBuilder()) {
        Path told = Files.createTempFile('overlay', '.txt')
        try {
            ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true)
            builder.redirectOutput(told.toFile()).directory(local.toFile()) // away from whatever the node stands in
            builder.environment().putAll(environment.systemEnvironment)
            builder.environment().put('PYTHONDONTWRITEBYTECODE', '1')
            Process process
            try {
                process = builder.start()
            } catch (IOException absent) {
                return "it cannot be run (${absent.message})".toString()
            }
            try {
                process.outputStream.close()
                if (!process.waitFor(Math.max(deadline - System.nanoTime(), 1L), TimeUnit.NANOSECONDS)) {
                    return 'it did not end within its time'
                }
            } finally {
                process.destroyForcibly()
            }
            text.append(new String(Files.readAllBytes(told), 'UTF-8'))
            if (process.exitValue() == 0) {
                return null
            }
            String last = text.toString().readLines().reverse().find { String line -> line.trim() }
            return last ?: "exit code ${process.exitValue()}".toString()
        } finally {
            Files.deleteIfExists(told)
        }
    }

    IllegalStateException fault(CharSequence what) {
        String host = text(variables, 'PA_NODE_NAME', '') // set by newer nodes
        try {
            host = "${host} ${InetAddress.localHost.hostName}".toString().trim()
        } catch (UnknownHostException ignored) {
            host = host ?: 'without a name'
        }
        String line = "node ${host}: ${what}. ${WAYS}".toString().readLines().join(' ')
        new IllegalStateException(line)
    }

    static String text(Map map, String key, String otherwise) {
        Object found = map == null ? null : map.get(key)
        found == null || found.toString().trim().isEmpty() ? otherwise : found.toString().trim()
    }

    static String name(Path path) {
        path.fileName.toString()
    }

    // Wheels by their numbers: 0.10.0 is newer than 0.9.2.
    static int newer(String a, String b) {
        List<Integer> left = numbers(a), right = numbers(b)
        for (int i = 0; i < Math.min(left.size(), right.size()); i++) {
            if (left[i] != right[i]) {
                return left[i] <=> right[i]
            }
        }
        left.size() <=> right.size()
    }

    static List<Integer> numbers(String name) {
        Collection<String> found = name.split('-')[1].split(/\D+/).findAll { String each -> each && each.length() < 9 }
        found.collect { String each -> each as Integer }
    }
}

OverlayEnvironment prepared =
    new OverlayEnvironment(variables as Map, genericInformation as Map, forkEnvironment, localspace as String)
try {
    prepared.prepare()
    if (prepared.note) {
        println prepared.note
    }
} catch (IllegalStateException fault) {
    println fault.message // for the task's log: its result wraps the line in Java's own words
    throw fault
}
