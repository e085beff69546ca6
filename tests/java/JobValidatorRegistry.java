// SPDX-License-Identifier: Apache-2.0
package org.ow2.proactive.scheduler.common.job.factories.spi;

import com.google.common.collect.ImmutableMap;
import java.util.Map;
import java.util.ServiceLoader;
import java.util.TreeMap;

/**
 * Finds the scheduler's job validators, in front of the scheduler's class of this name: that one looks them up by a
 * registry of image formats, which takes nothing else since Java 9. The validators themselves are the scheduler's.
 */
public class JobValidatorRegistry {
    private static final JobValidatorRegistry INSTANCE = new JobValidatorRegistry();

    private ImmutableMap<String, JobValidatorService> validators = ImmutableMap.of();

    private JobValidatorRegistry() {
        load();
    }

    public static JobValidatorRegistry getInstance() {
        return INSTANCE;
    }

    public final void load() {
        Map<String, JobValidatorService> found = new TreeMap<>();
        for (JobValidatorService each : ServiceLoader.load(JobValidatorService.class)) {
            found.put(each.getClass().getName(), each);
        }
        validators = ImmutableMap.copyOf(found);
    }

    public ImmutableMap<String, JobValidatorService> getRegisteredFactories() {
        return validators;
    }
}
