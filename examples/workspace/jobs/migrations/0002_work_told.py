from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="work",
            name="told",
            field=models.PositiveIntegerField(default=0, editable=False),
        ),
    ]
